"""Textured synthetic rooms: furnished rooms by seed, camera paths and posed RGB-D folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.io.image_files import write_image
from diff2i2p_core.io.rgbd_folder import write_matrix
from diff2i2p_core.rooms import furniture
from diff2i2p_core.rooms import pictures as pic
from diff2i2p_core.rooms import textures as tx
from diff2i2p_core.rooms.ray_casting import Rectangle, Scene, box
from diff2i2p_core.rooms.sensors import SENSORS, Sensor
from diff2i2p_core.typing import Array

CELL = 0.05
"""Metres per cell of the free-space grid."""
TRAIN_SEEDS = range(100, 10_000)
"""Seeds for training. All others are for tests, evaluation and the demo."""


@dataclass(frozen=True)
class Room:
    """A room on the floor [0, width] x [0, depth], z up, in metres."""

    width: float
    depth: float
    height: float
    scene: Scene
    clearance: NDArray[np.float32]
    """(rows along y, columns along x) metres from a floor cell to the nearest wall or furniture."""

    def render(
        self, camera: Camera, world_from_camera: ArrayLike
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """RGB (H, W, 3) and exact depth (H, W) in metres of a view. The camera must have no distortion."""
        return self.scene.render(camera, world_from_camera)

    def clearance_at(self, xy: ArrayLike) -> NDArray[np.float32]:
        """Metres to the nearest wall or furniture on the floor, for positions (N, 2)."""
        column, row = np.clip(
            (np.asarray(xy, float) / CELL).astype(int), 0, np.array(self.clearance.shape)[::-1] - 1
        ).T
        distance: NDArray[np.float32] = self.clearance[row, column]
        return distance


def room_seeds(span: str, subset: Literal["train", "test"]) -> range:
    """The seeds "first:end" (end excluded). InputError if one of them is not in the subset."""
    first, _, end = span.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise InputError(f"seeds '{span}': not a range of numbers; write first:end, such as 100:160")
    seeds = range(int(first), int(end))
    strays = [seed for seed in seeds if (seed in TRAIN_SEEDS) != (subset == "train")]
    if strays:
        low, high = TRAIN_SEEDS[0], TRAIN_SEEDS[-1]
        raise InputError(
            f"seeds '{span}': {strays[0]} is not for {subset}; {low} to {high} are for training, "
            "all others for tests"
        )
    return seeds


def make_room(seed: int) -> Room:
    """A furnished room about 4 to 7 m wide. The same seed gives the same room."""
    rng = np.random.default_rng([seed, 1])
    width, depth, height = rng.uniform(4.0, 7.0), rng.uniform(3.8, 6.5), rng.uniform(2.4, 3.0)
    occupied = np.zeros((int(depth / CELL) + 1, int(width / CELL) + 1), np.uint8)
    occupied[[0, -1]] = occupied[:, [0, -1]] = 1
    faces = _shell(rng, width, depth, height)
    for wall in range(4):
        faces += _furnish_wall(rng, wall, width, depth, height, occupied)
    faces += _furnish_middle(rng, width, depth, occupied)
    clearance = cv2.distanceTransform(1 - occupied, cv2.DIST_L2, 5).astype(np.float32) * CELL
    lamp = width * rng.uniform(0.3, 0.7), depth * rng.uniform(0.3, 0.7), height - 0.25
    return Room(width, depth, height, Scene(faces, lamp, float(rng.uniform(0.6, 0.8))), clearance)


def _shell(rng: np.random.Generator, width: float, depth: float, height: float) -> list[Rectangle]:
    """Floor, ceiling and four walls, seen from inside."""
    wall = [tx.WALLS[int(rng.integers(len(tx.WALLS)))] for _ in range(4)]
    floor = tx.FLOORS[int(rng.integers(len(tx.FLOORS)))]
    ex, ey, ez = np.diag([width, depth, height])
    faces = [
        (np.zeros(3) + ey, ex, -ey, floor),
        (ez.copy(), ex, ey, tx.plaster),
        (ey + ez, ex, -ez, wall[0]),
        (ex + ey + ez, -ey, -ez, wall[1]),
        (ex + ez, -ex, -ez, wall[2]),
        (ez.copy(), ey, -ez, wall[3]),
    ]
    return [
        Rectangle(o, u, v, material(rng, float(np.linalg.norm(u)), float(np.linalg.norm(v))))
        for o, u, v, material in faces
    ]


def _place(
    piece: list[Rectangle], wall: int, along: float, width: float, depth: float, off: float = 0.0
) -> list[Rectangle]:
    """Move a piece to wall 0..3 (y = depth, x = width, y = 0, x = 0), `along` metres from its left end."""
    yaw = [0.0, -np.pi / 2, np.pi, np.pi / 2][wall]
    x, y = [(along, depth - off), (width - off, depth - along), (width - along, off), (off, along)][wall]
    return [face.moved(yaw, (x, y, 0)) for face in piece]


def _occupy(occupied: NDArray[np.uint8], piece: list[Rectangle], mark: bool = True) -> bool:
    """Whether a piece's footprint is free. If it is and `mark` is set, marks it as occupied."""
    corners = np.concatenate([face.corners[:, :2] for face in piece])
    low = np.maximum(np.floor(corners.min(0) / CELL).astype(int), 1)
    high = np.minimum(np.ceil(corners.max(0) / CELL).astype(int), np.array(occupied.shape)[::-1] - 1)
    window = occupied[low[1] : high[1], low[0] : high[0]]
    free = not window.any()
    if free and mark:
        window[:] = 1
    return free


def _furnish_wall(
    rng: np.random.Generator,
    wall: int,
    width: float,
    depth: float,
    height: float,
    occupied: NDArray[np.uint8],
) -> list[Rectangle]:
    """Furniture along one wall, with pictures above low pieces and a door or windows in between."""
    length = width if wall % 2 == 0 else depth
    faces: list[Rectangle] = []
    along = rng.uniform(0.1, 0.4)
    door_at = rng.uniform(0.2, 0.8) * length if rng.random() < 0.5 else np.inf
    while along < length - 0.5:
        if along > door_at:
            door_at, size = np.inf, rng.uniform(0.8, 1.0)
            piece = furniture.wall_hanging(rng, size, 2.05, 0.0, pic.door)
            faces += _place(piece, wall, along + size / 2, width, depth)
            along += size + 0.15
            continue
        builder, *ranges = furniture.AT_WALLS[int(rng.integers(len(furniture.AT_WALLS)))]
        size_x, size_y, size_z = (rng.uniform(*r) for r in ranges)
        top = 0.0
        if rng.random() < 0.85 and along + size_x < length - 0.1 and size_y < min(width, depth) * 0.4:
            piece = _place(builder(rng, size_x, size_y, size_z), wall, along + size_x / 2, width, depth, 0.03)
            if _occupy(occupied, piece):
                faces += piece
                top = 2.3 if builder in (furniture.kitchen, furniture.plant) else size_z + 0.4
        if top < height - 0.8:
            kind = pic.window if rng.random() < 0.25 else pic.poster
            tall = rng.uniform(0.35, min(1.2, height - 0.25 - max(top, 0.8)))
            wide = rng.uniform(0.35, max(0.4, min(1.5, size_x)))
            bottom = rng.uniform(max(top, 0.8), height - 0.15 - tall)
            piece = furniture.wall_hanging(rng, wide, tall, bottom, kind)
            middle = float(np.clip(along + size_x / 2, wide / 2 + 0.05, length - wide / 2 - 0.05))
            faces += _place(piece, wall, middle, width, depth)
        along += size_x + rng.uniform(0.05, 0.5)
    return faces


def _furnish_middle(
    rng: np.random.Generator, width: float, depth: float, occupied: NDArray[np.uint8]
) -> list[Rectangle]:
    """One or two rugs, and often a table with chairs and enough space to walk around it."""
    faces: list[Rectangle] = []
    for _ in range(int(rng.integers(1, 3))):
        size = rng.uniform(1.0, 2.4, 2)
        center = rng.uniform([1.3, 1.3], [max(width - 1.3, 1.4), max(depth - 1.3, 1.4)])
        rug = box(rng, (0, 0, 0.008), (*size, 0.016), tx.painted, top=tx.carpet)
        faces += [
            face.moved(float(rng.uniform(0, np.pi)), (*center, 0.002 * len(faces))) for face in rug[4:5]
        ]
    if rng.random() < 0.7:
        yaw = float(rng.choice([0, np.pi / 2])) + rng.normal(0, 0.08)
        center = np.array([width, depth]) * rng.uniform(0.38, 0.62, 2)
        size_x, size_y = rng.uniform(0.7, 1.5), rng.uniform(0.6, 0.9)
        pieces: list[tuple[list[Rectangle], float, tuple[float, float, float]]] = [
            (furniture.table(rng, size_x, size_y, rng.uniform(0.45, 0.78)), 0.0, (0, size_y / 2, 0))
        ]
        for side in (-1, 1):
            if rng.random() < 0.7:
                seat = furniture.chair(rng, 0.45, 0.45, rng.uniform(0.8, 1.0))
                at = (rng.uniform(-0.2, 0.2), side * (size_y / 2 + 0.35), 0)
                pieces.append((seat, (0.0 if side > 0 else np.pi) + rng.normal(0, 0.3), at))
        group = [
            face.moved(turn, at).moved(yaw, (*center, 0)) for piece, turn, at in pieces for face in piece
        ]
        if _occupy(occupied, group):
            faces += group
    return faces


def camera_path(room: Room, count: int, seed: int, *, step: float = 0.12) -> list[Array]:
    """`count` poses world_from_camera along a smooth path: 1.2 to 1.7 m high, clear of walls and furniture,
    about `step` metres per frame, looking around at objects at least 1.2 m away."""
    rng = np.random.default_rng([seed, 2])
    xy = _walk(room, rng, count, step)
    along = np.arange(count)
    height = 1.45 + 0.25 * np.sin(2 * np.pi * (along * rng.uniform(0.008, 0.025) + rng.uniform()))
    position = np.column_stack([xy, height])
    keys = np.arange(0, count + 10, 10)
    angles = np.empty((len(keys), 2))
    for i, key in enumerate(keys):
        eye = position[min(int(key), count - 1)]
        for _ in range(100):
            target = rng.uniform([0, 0, 0.2], [room.width, room.depth, 1.7])
            if np.linalg.norm(target[:2] - eye[:2]) > min(2.2, 0.45 * max(room.width, room.depth)):
                break
        x, y, z = target - eye
        angles[i] = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
    angles[:, 0] = np.unwrap(angles[:, 0])
    yaw, pitch = PchipInterpolator(keys, angles)(along).T
    roll = np.radians(4) * np.sin(2 * np.pi * (along * rng.uniform(0.01, 0.04) + rng.uniform()))
    return [_looking(*values) for values in zip(position, yaw, pitch, roll, strict=True)]


def _walk(room: Room, rng: np.random.Generator, count: int, step: float) -> Array:
    """Positions (count, 2) on straight lines between free waypoints, with rounded corners."""
    margin = min(0.45, 0.8 * float(room.clearance.max()))
    free = np.argwhere(room.clearance > margin)[:, ::-1] * CELL + CELL / 2
    _, label = cv2.connectedComponents((room.clearance > margin).astype(np.uint8))
    regions = label[room.clearance > margin]
    free = free[regions == np.bincount(regions).argmax()]
    track = [free[rng.integers(len(free))]]
    legs = 0.0
    while legs < step * count * 1.3 + 0.5:
        candidates = free[rng.integers(len(free), size=60)]
        reached = [c for c in candidates if _way_is_clear(room, track[-1], c, margin * 0.95)]
        reached.sort(key=lambda c: float(np.linalg.norm(c - track[-1])))
        goal = reached[len(reached) * 3 // 4] if reached else track[0]
        # A position with no free view leads back to the start. Count it, so that the loop ends.
        legs += max(float(np.linalg.norm(goal - track[-1])), CELL)
        track.append(goal)
    corners = np.stack(track)
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    fine = np.arange(0, at[-1], 0.02)
    dense = np.column_stack([np.interp(fine, at, corners[:, axis]) for axis in range(2)])
    dense = gaussian_filter1d(dense, 8, axis=0, mode="nearest")
    travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    wanted = np.arange(count) * min(step, travelled[-1] / max(count, 1))
    return np.column_stack([np.interp(wanted, travelled, dense[:, axis]) for axis in range(2)])


def _way_is_clear(room: Room, start: Array, end: Array, margin: float) -> bool:
    """Whether the straight line between two positions keeps `margin` metres from everything."""
    fractions = np.linspace(0, 1, max(2, int(np.linalg.norm(end - start) / CELL)))[:, None]
    return bool((room.clearance_at(start + fractions * (end - start)) > margin).all())


def _looking(position: Array, yaw: float, pitch: float, roll: float) -> Array:
    """world_from_camera of an optical frame that looks along yaw (about z from x) and pitch (up)."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    return compose(np.stack([c * right + s * down, c * down - s * right, forward], axis=1), position)


def write_frames(
    folder: Path | str,
    room: Room,
    camera: Camera,
    poses: list[Array],
    *,
    first: int = 0,
    seed: int = 0,
    noise: bool = True,
    sensor: Sensor = "kinect",
) -> None:
    """Render `poses` into a posed RGB-D folder, with frame numbers from `first`. Existing frames are kept, so
    an interrupted run resumes. `noise` adds noise to the image, and the noise of `sensor` to the depth."""
    folder = Path(folder)
    if camera.is_distorted:
        raise InputError("write_frames: the camera has lens distortion; give the rectified camera")
    write_matrix(folder / "camera-intrinsics.txt", camera.matrix, ".6f")
    for number, pose in enumerate(poses, start=first):
        name = f"frame-{number:06d}"
        if (folder / f"{name}.pose.txt").exists():
            continue
        image, depth = room.render(camera, pose)
        if noise:
            rng = np.random.default_rng([seed, 3, number])
            depth = SENSORS[sensor](depth, camera, rng)
            image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        write_image(folder / f"{name}.color.jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        write_image(folder / f"{name}.depth.png", np.rint(depth * 1000).clip(0, 65534).astype(np.uint16))
        # Written last, because a frame exists once its pose file exists.
        write_matrix(folder / f"{name}.pose.txt", pose)
