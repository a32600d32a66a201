"""Point clouds with optional attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.geometry.voxels import VoxelGroups

ATTRIBUTES = ("colors", "intensity")
"""What a point can have besides its position: fields of `PointCloud`, one row per point."""


@dataclass(frozen=True)
class PointCloud:
    """Points with optional attributes. Arrays of the right type are shared, not copied."""

    points: NDArray[np.float32]
    """(N, 3) metres."""
    colors: NDArray[np.uint8] | None = None
    """(N, 3) RGB."""
    intensity: NDArray[np.uint8] | None = None
    """(N,) lidar intensity, 0-255 (`io.clouds` scales the sensors' values)."""

    def __post_init__(self) -> None:
        """InputError for inconsistent shapes."""
        points = np.asarray(self.points, np.float32)
        if points.ndim != 2 or points.shape[1] != 3:
            raise InputError(f"cloud: points have shape {points.shape}, expected (N, 3)")
        object.__setattr__(self, "points", points)
        for name, shape in (("colors", points.shape), ("intensity", points.shape[:1])):
            if getattr(self, name) is None:
                continue
            values = np.asarray(getattr(self, name))
            if values.shape != shape:
                raise InputError(f"cloud: {name} of shape {values.shape}, expected {shape} like the points")
            if values.dtype != np.uint8:
                raise InputError(f"cloud: {name} of type {values.dtype}, expected uint8 (0-255)")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def attributes(self) -> dict[str, NDArray[np.uint8]]:
        """The attributes that the points have, by name."""
        return {name: getattr(self, name) for name in ATTRIBUTES if getattr(self, name) is not None}

    def take(self, rows: ArrayLike | slice) -> PointCloud:
        """The points of these rows: indices, a mask or a slice."""
        index: Any = rows
        return PointCloud(self.points[index], **{name: a[index] for name, a in self.attributes.items()})

    def moved(self, a_from_b: ArrayLike) -> PointCloud:
        """This cloud, given in frame b, transformed to frame a."""
        return replace(self, points=transform_points(a_from_b, self.points).astype(np.float32))

    def shifted(self, offset: ArrayLike) -> PointCloud:
        """This cloud, moved by `offset` (3,) in metres."""
        return replace(self, points=self.points + np.asarray(offset, np.float32))

    def thinned(self, spacing: float) -> PointCloud:
        """One point in each occupied voxel of `spacing` metres: the mean of its points and attributes."""
        groups = VoxelGroups(self.points, spacing)
        means = {name: _mean(groups, values) for name, values in self.attributes.items()}
        return PointCloud(groups.mean(self.points).astype(np.float32), **means)

    @staticmethod
    def joined(clouds: Sequence[PointCloud]) -> PointCloud:
        """All points in sequence, with the attributes that every cloud has."""
        common = [name for name in ATTRIBUTES if all(name in cloud.attributes for cloud in clouds)]
        return PointCloud(
            np.concatenate([cloud.points for cloud in clouds]),
            **{name: np.concatenate([cloud.attributes[name] for cloud in clouds]) for name in common},
        )


def _mean(groups: VoxelGroups, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of (N, C) or (N,) values, in the same layout."""
    columns = values[:, None] if values.ndim == 1 else values
    mean = np.rint(groups.mean(columns)).astype(np.uint8)
    return mean[:, 0] if values.ndim == 1 else mean
