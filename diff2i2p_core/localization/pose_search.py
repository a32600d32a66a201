"""Searches near a pose for the one from which the map looks most like the image.

A match corrects only a part of the error of its render, because descriptors say where a point is relative to
its surroundings, and these are arranged as in the render. So poses that orbit about a near wall hardly come
back. Here nothing is matched: the map is rendered from poses around, and at the right one, image and render
have the same descriptors at the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose, is_near
from diff2i2p_core.localization.beside import spread
from diff2i2p_core.models.geometry_features import STRIDE
from diff2i2p_core.models.xfeat import Keypoints
from diff2i2p_core.typing import Array

_ASIDE = 0.16
"""Radians of the orbits on which a pose must be distinct."""
_STEPS = ((0.12, 0.12, 0.08), (_ASIDE, _ASIDE, 0.04))
"""Of each round: radians of the orbits, and the step along the line of sight as a part of the distance.
Measured: with orbits of 0.06 in the last round, it is not more exact; with these, it also tells whether the
pose is distinct."""
_FARTHEST = 1.2
"""Steps that a pose moves at most in a round."""
_AROUND = 4
"""Cells to each side, whose mean is subtracted from the image's descriptors: what all of a wall has says
nothing about where on it a point is. Measured: without, the best of poses on an orbit is 1.9 deg from the
right one in hololens_office, with it 1.2."""
_LEAST_DROP = 0.07
"""By which part of its value the likeness must at least be lower on these orbits (docs/benchmarks.md)."""
_CLEAR_DROP = 0.15
"""If it is lower by less, it is searched from there for a better pose elsewhere: on the way from a wrong pose
to the right one, the likeness may fall before it rises. Measured: a sixth of the poses. If it is lower by
more in the last round of the search already, nothing more is rendered."""
_MARGIN = 1
"""Cells by which an image may be shifted against a render. Measured: with two, fewer poses become exact."""
_ROLL = 0.05
"""Radians by which an image may be turned against a render: about two cells at its sides."""


class Likeness(NamedTuple):
    value: float
    """Mean product of descriptors, at the best offset."""
    offset: tuple[float, float]
    """(u, v) pixels by which the image is shifted against the render."""
    roll: float = 0.0
    """Radians by which it is turned against the render, clockwise."""


class ImageGrid:
    """The dense descriptors of an image, to compare renders with."""

    def __init__(self, dense: Tensor, reliability: Tensor) -> None:
        """`dense` (h, w, C) unit-length descriptors every `STRIDE` pixels, and their `reliability` (h, w)."""
        cells = dense.permute(2, 0, 1)[None]
        mean = F.avg_pool2d(cells, 2 * _AROUND + 1, 1, _AROUND, count_include_pad=False)
        margin = (_MARGIN,) * 4
        both = F.pad(torch.cat([cells - mean, reliability[None, None]], dim=1), margin)
        angles = 0.0, -_ROLL, _ROLL
        self._upright, *self._rolled = (_Cells.of(_turned_back(both, angle)) for angle in angles)

    @classmethod
    def of(cls, image: Keypoints) -> ImageGrid:
        assert image.dense is not None and image.reliability is not None
        return cls(image.dense, image.reliability)

    def likeness(self, dense: Tensor, reliability: Tensor) -> Likeness | None:
        """Of a render with these descriptors (h, w, C) and their reliability (h, w). None if it shows
        nothing."""
        if not bool(reliability.any()):
            return None
        here, left, right, above, below = (
            self._upright.likeness(dense, reliability, u, v)
            for u, v in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
        )
        back, on = (cells.likeness(dense, reliability) for cells in self._rolled)
        u, v = _peak(left, right, here, _MARGIN), _peak(above, below, here, _MARGIN)
        roll = _peak(back, on, here, 1)
        value = (
            here + _rise(left, right, here, u) + _rise(above, below, here, v) + _rise(back, on, here, roll)
        )
        return Likeness(value, (u * STRIDE, v * STRIDE), roll * _ROLL)


class _Cells(NamedTuple):
    """Descriptors (h, w, C) of an image, with a margin of `_MARGIN`, and their weights (h, w)."""

    descriptors: Tensor
    weights: Tensor

    @classmethod
    def of(cls, both: Tensor) -> _Cells:
        """From both in one (1, C + 1, h, w)."""
        return cls(both[0, :-1].permute(1, 2, 0).contiguous(), both[0, -1].contiguous())

    def likeness(self, dense: Tensor, reliability: Tensor, u: int = 0, v: int = 0) -> float:
        """The mean product of descriptors of an image and a render whose cells are this far apart."""
        rows = slice(_MARGIN + v, _MARGIN + v + dense.shape[0])
        columns = slice(_MARGIN + u, _MARGIN + u + dense.shape[1])
        weights = self.weights[rows, columns] * reliability
        products = (self.descriptors[rows, columns] * dense).sum(dim=2)
        return float((products * weights).sum() / weights.sum().clamp(min=1e-9))


def _turned_back(images: Tensor, angle: float) -> Tensor:
    """Images (B, C, H, W), turned back by an angle in radians about their middle: what is turned clockwise by
    it becomes upright. 0 from outside."""
    if not angle:
        return images
    height, width = images.shape[2:]
    c, s = float(np.cos(angle)), float(np.sin(angle))
    turn = images.new_tensor([[c, -s * height / width, 0], [s * width / height, c, 0]])
    grid = F.affine_grid(turn[None].expand(len(images), -1, -1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _peak(less: float, more: float, here: float, farthest: float) -> float:
    """Where the parabola through values at -1, 1 and 0 is highest, at most this far from 0."""
    bend = less + more - 2 * here
    if bend >= 0:
        return 0.0 if max(less, more) <= here else farthest * float(np.sign(more - less))
    return float(np.clip((less - more) / (2 * bend), -farthest, farthest))


def _rise(less: float, more: float, here: float, at: float) -> float:
    """How much higher than at 0 this parabola is."""
    return at * (more - less) / 2 + at * at * (less + more - 2 * here) / 2


Compare = Callable[[Sequence[Array]], list[Likeness | None]]
"""How alike the image and renders of the map from poses (map_from_camera) are; None if one shows nothing."""


class Best(NamedTuple):
    """What a search finds."""

    pose: Array
    value: float
    """How alike image and map are there; 0 if the map is not seen."""
    middle: Array
    """The pose around which the last round looked."""
    drop: float
    """By which part of the value they are less alike to the sides and up and down of it; 0 if not known."""


class Surroundings:
    """The poses (map_from_camera) around the point `distance` metres ahead, and how alike image and map are
    from there by `compare`, which renders with `camera` and computes on `device`."""

    def __init__(self, compare: Compare, distance: float, camera: Camera, device: torch.device) -> None:
        self._compare, self._distance, self._camera, self._device = compare, distance, camera, device

    def best(self, pose: Array) -> Best:
        """The best pose near `pose`.

        What matches determine least is searched: orbits about the point ahead, to the side and up, and the
        way to it. In each round, one step to both sides of each, and from the parabolas through these a pose
        for all; the best of all eight is kept, turned by the offset that was found.
        """
        (first,) = self._compare([pose])
        if first is None:
            return Best(pose, 0.0, pose, 0.0)
        start = _turned(pose, first, self._camera)
        found = Best(start, first.value, start, 0.0)
        for steps in _STEPS:
            found = self._round(found, steps)
        return found

    def _round(self, start: Best, steps: Sequence[float]) -> Best:
        """The best of a pose and of those in these steps around it."""
        pose, best = start.pose, start.value
        sides = self._sides(pose, steps)
        seen = self._compared(sides)
        values = [_value(each) for each in seen]
        there = pose
        for axis, step in enumerate(steps):
            less, more = values[2 * axis : 2 * axis + 2]
            there = self._beside(there, axis, step * _peak(less, more, best, _FARTHEST))
        for tried, found in zip([*sides, there], [*seen, *self._compare([there])], strict=True):
            if found is not None and found.value >= best:
                best, pose = found.value, _turned(tried, found, self._camera)
        return Best(pose, best, start.pose, _drop(best, values[:4]))

    def beside(self, pose: Array, found: Best) -> tuple[bool, Best | None]:
        """Whether the pose is distinct: from orbits beside it, the map looks less like the image, and a
        search from the most alike side finds no better one elsewhere. If it is not, also a better pose, or
        None. `found` is what the search found that led to the pose: if its last round looked around this
        pose, and saw it clearly distinct, nothing is rendered."""
        if found.drop >= _CLEAR_DROP and self._is_near(pose, found.middle, _ASIDE / 4):
            return True, None
        sides = self._sides(pose, (_ASIDE, _ASIDE))
        here, *others = self._compared([pose, *sides])
        if here is None:
            return False, None
        values = [_value(other) for other in others]
        drop = _drop(here.value, values)
        if drop >= _CLEAR_DROP:
            return True, None
        distinct = drop >= _LEAST_DROP
        better = self.best(sides[int(np.argmax(values))])
        if better.value <= here.value or (distinct and self._is_near(better.pose, pose, _ASIDE / 2)):
            return distinct, None
        return False, better

    def _is_near(self, pose: Array, other: Array, angle: float) -> bool:
        """Within this many radians of an orbit and of turn."""
        return is_near(pose, other, angle * self._distance, float(np.degrees(angle)))

    def _sides(self, pose: Array, steps: Sequence[float]) -> list[Array]:
        """A step to both sides on each axis."""
        return [self._beside(pose, axis, sign * step) for axis, step in enumerate(steps) for sign in (-1, 1)]

    def _beside(self, pose: Array, axis: int, move: float) -> Array:
        return orbited(pose, axis, move, self._distance)

    def _compared(self, poses: Sequence[Array]) -> list[Likeness | None]:
        return spread(self._compare, poses, self._device)


def _value(found: Likeness | None) -> float:
    return 0.0 if found is None else found.value


def _drop(value: float, sides: Sequence[float]) -> float:
    """By which part all sides are lower than a value."""
    return 1 - max(sides) / value if value > 0 else 0.0


def orbited(pose: Array, axis: int, move: float, distance: float) -> Array:
    """The pose on an orbit to the side (0) or up (1), or nearer (2); `move` is in radians, or a fraction."""
    if axis == 2:
        return pose @ compose(np.eye(3), [0.0, 0.0, move * distance])
    turn = Rotation.from_rotvec(move * np.array([axis == 1, axis == 0, False], np.float64)).as_matrix()
    middle = np.array([0.0, 0.0, distance])
    moved: Array = pose @ compose(turn, middle - turn @ middle)
    return moved


def _turned(pose: Array, found: Likeness, camera: Camera) -> Array:
    """The pose from which the render is neither shifted nor turned against the image."""
    u, v = found.offset
    turn = Rotation.from_rotvec([v / camera.fy, -u / camera.fx, -found.roll]).as_matrix()
    turned: Array = pose @ compose(turn, np.zeros(3))
    return turned
