"""Small things all over a room: boxes, cylinders and boards near its walls and furniture, lamps and beams.

They make the shape of synthetic rooms richer, with textures that have nothing to do with the shape.
"""

from __future__ import annotations

import numpy as np

from diff2i2p_core.rooms import pictures as pic
from diff2i2p_core.rooms import textures as tx
from diff2i2p_core.rooms.ray_casting import Rectangle, Scene, box, prism
from diff2i2p_core.rooms.room import Room
from diff2i2p_core.typing import Array

_MATERIALS: tuple[tx.Material, ...] = (
    tx.painted,
    tx.plaster,
    tx.wood,
    tx.stripes,
    tx.fabric,
    tx.carpet,
    pic.label,
    pic.poster,
    pic.books,
)
_WALKED = 0.4
"""Metres. Cameras move where the nearest furniture is farther away than this."""


def cluttered(room: Room, seed: int) -> Scene:
    """The room's scene with 20 to 60 more things. The same seed gives the same things."""
    rng = np.random.default_rng([seed, 4])
    faces = list(room.scene.rectangles)
    for _ in range(int(rng.integers(20, 60))):
        faces += _thing(rng, room)
    lamp = rng.uniform([0.2, 0.2, 0.6], [0.8, 0.8, 0.95]) * [room.width, room.depth, room.height]
    return Scene(faces, lamp, float(rng.uniform(0.35, 0.8)))


def _thing(rng: np.random.Generator, room: Room) -> list[Rectangle]:
    material = _MATERIALS[int(rng.integers(len(_MATERIALS)))]
    kind = rng.random()
    if kind < 0.15:  # under the ceiling: a lamp, a beam or a duct
        size = rng.uniform([0.15, 0.15, 0.08], [1.8, 0.5, 0.35])
        place = rng.uniform([0.3, 0.3], [room.width - 0.3, room.depth - 0.3])
        return _turned(rng, box(rng, (0, 0, 0), size, material), (*place, room.height - size[2] / 2))
    place = _near_furniture(rng, room)
    bottom = float(rng.choice([0.0, 0.45, 0.75, 0.95, 1.4, 1.8])) * rng.uniform(0.9, 1.1)
    if kind < 0.35:
        radius, height = rng.uniform(0.04, 0.18), rng.uniform(0.1, 0.6)
        return _turned(rng, prism(rng, (0, 0, height / 2), radius, height, material, 10), (*place, bottom))
    size = rng.uniform([0.08, 0.04, 0.05], [0.6, 0.4, 0.5])
    return _turned(rng, box(rng, (0, 0, size[2] / 2), size, material), (*place, bottom))


def _near_furniture(rng: np.random.Generator, room: Room) -> Array:
    """A position (2,) where no camera goes."""
    for _ in range(30):
        place = rng.uniform([0.1, 0.1], [room.width - 0.1, room.depth - 0.1])
        if room.clearance_at(place[None])[0] < _WALKED:
            break
    return np.asarray(place)


def _turned(
    rng: np.random.Generator, faces: list[Rectangle], at: tuple[float, float, float]
) -> list[Rectangle]:
    yaw = float(rng.uniform(0, 2 * np.pi))
    return [face.moved(yaw, at) for face in faces]
