"""Searches near a pose for the one from which the map looks most like the image.

A match corrects only a part of the error of its render, because descriptors say where a point is relative to
its surroundings, and these are arranged as in the render. So poses that orbit about a near wall hardly come
back. Here nothing is matched: the map is rendered from poses around, and at the right one, image and render
have the same descriptors at the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.localization.beside import in_pairs
from diff2i2p_core.models.geometry_features import STRIDE
from diff2i2p_core.models.xfeat import Keypoints
from diff2i2p_core.typing import Array

_STEPS = ((0.12, 0.12, 0.08), (0.06, 0.06, 0.04))
"""Of each round: radians of the orbits, and the step along the line of sight as a part of the distance."""
_FARTHEST = 1.2
"""Steps that a pose moves at most in a round."""
_AROUND = 4
"""Cells to each side, whose mean is subtracted from the image's descriptors: what all of a wall has says
nothing about where on it a point is. Measured: without, the best of poses on an orbit is 1.9 deg from the
right one in hololens_office, with it 1.2."""


class Likeness(NamedTuple):
    value: float
    """Mean product of descriptors, at the best offset."""
    offset: tuple[float, float]
    """(u, v) pixels by which the image is shifted against the render."""


class ImageGrid:
    """The dense descriptors of an image, to compare renders with."""

    def __init__(self, dense: Tensor, reliability: Tensor) -> None:
        """`dense` (h, w, C) unit-length descriptors every `STRIDE` pixels, and their `reliability` (h, w)."""
        cells = dense.permute(2, 0, 1)[None]
        mean = F.avg_pool2d(cells, 2 * _AROUND + 1, 1, _AROUND, count_include_pad=False)
        self._cells = F.pad((cells - mean)[0].permute(1, 2, 0), (0, 0, 1, 1, 1, 1)).contiguous()
        self._weights = F.pad(reliability, (1, 1, 1, 1))

    @classmethod
    def of(cls, image: Keypoints) -> ImageGrid:
        assert image.dense is not None and image.reliability is not None
        return cls(image.dense, image.reliability)

    def likeness(self, dense: Tensor, reliability: Tensor) -> Likeness | None:
        """Of a render with these descriptors (h, w, C) and their reliability (h, w). None if it shows
        nothing."""
        if not bool(reliability.any()):
            return None
        here = self._shifted(dense, reliability, 0, 0)
        left, right, above, below = (
            self._shifted(dense, reliability, *cells) for cells in ((-1, 0), (1, 0), (0, -1), (0, 1))
        )
        u, more_u = _peak(left, right, here)
        v, more_v = _peak(above, below, here)
        return Likeness(here + more_u + more_v, (u * STRIDE, v * STRIDE))

    def _shifted(self, dense: Tensor, reliability: Tensor, du: int, dv: int) -> float:
        """The mean product of descriptors of cells that are this far apart."""
        rows, columns = slice(1 + dv, 1 + dv + dense.shape[0]), slice(1 + du, 1 + du + dense.shape[1])
        weights = self._weights[rows, columns] * reliability
        products = torch.einsum("hwc,hwc->hw", self._cells[rows, columns], dense)
        return float((products * weights).sum() / weights.sum().clamp(min=1e-9))


def _peak(less: float, more: float, here: float) -> tuple[float, float]:
    """Where the parabola through values at -1, 1 and 0 is highest, between these, and by how much."""
    bend = less + more - 2 * here
    if bend >= 0 or abs(less - more) > -2 * bend:
        best = max(less, more)
        return (0.0, 0.0) if best <= here else (1.0 if more > less else -1.0, best - here)
    at = (less - more) / (2 * bend)
    return at, -bend * at * at / 2


def search(
    compare: Callable[[Array], Likeness | None],
    pose: Array,
    distance: float,
    camera: Camera,
    device: torch.device,
) -> Array:
    """The best pose near `pose` (both map_from_camera) by `compare`, which renders the map from a pose with
    `camera`, and computes on `device`.

    What matches determine least is searched: orbits about the point `distance` metres ahead, to the side and
    up, and the way to it. After each step, the camera is turned by the offset that was found.
    """
    found = compare(pose)
    if found is None:
        return pose
    best, pose = found.value, _turned(pose, found, camera)
    for steps in _STEPS:
        moves = np.zeros(3)
        for axis, step in enumerate(steps):
            beside = [orbited(pose, axis, sign * step, distance) for sign in (-1, 1)]
            less, more = (0.0 if seen is None else seen.value for seen in in_pairs(compare, beside, device))
            moves[axis] = step * _step(less, more, best)
        there = pose
        for axis, move in enumerate(moves):
            there = orbited(there, axis, move, distance)
        found = compare(there)
        if found is None or found.value < best:
            continue
        best, pose = found.value, _turned(there, found, camera)
    return pose


def _step(less: float, more: float, here: float) -> float:
    """How many steps to move, from values one step to each side: to the peak of the parabola through them."""
    bend = less + more - 2 * here
    if bend >= 0:
        return 0.0 if max(less, more) <= here else _FARTHEST * float(np.sign(more - less))
    return float(np.clip((less - more) / (2 * bend), -_FARTHEST, _FARTHEST))


def orbited(pose: Array, axis: int, move: float, distance: float) -> Array:
    """The pose on an orbit to the side (0) or up (1), or nearer (2); `move` is in radians, or a fraction."""
    if axis == 2:
        return pose @ compose(np.eye(3), [0.0, 0.0, move * distance])
    turn = Rotation.from_rotvec(move * np.array([axis == 1, axis == 0, False], np.float64)).as_matrix()
    middle = np.array([0.0, 0.0, distance])
    moved: Array = pose @ compose(turn, middle - turn @ middle)
    return moved


def _turned(pose: Array, found: Likeness, camera: Camera) -> Array:
    """The pose from which the render is not shifted against the image."""
    u, v = found.offset
    turn = Rotation.from_rotvec([v / camera.fy, -u / camera.fx, 0.0]).as_matrix()
    turned: Array = pose @ compose(turn, np.zeros(3))
    return turned
