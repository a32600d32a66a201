"""A cloud in the memory of a GPU, and what a camera sees of it, computed there.

Each function does what the NumPy code of `render_view` does, in the same order, with torch's kernels: a
minimum per cell of the coarse z-buffers, and sums per pixel. Only things as large as an image are copied:
coarse z-buffers to the CPU and back, and the pixels with points to the CPU. Where our kernels run, they
replace this (`ops/render_there.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.submaps import MAX_LEVEL, OVERLAP, level_limit
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class DeviceCloud:
    """`PointCloud` with tensors on one device."""

    points: Tensor
    """(N, 3) float32."""
    colors: Tensor | None = None
    """(N, 3) uint8."""
    intensity: Tensor | None = None
    """(N,) uint8."""

    @classmethod
    def of(cls, cloud: PointCloud, device: torch.device) -> DeviceCloud:
        def there(array: NDArray[np.generic] | None) -> Tensor | None:
            # A copy, because torch warns about arrays of files, which cannot be written.
            return None if array is None else torch.from_numpy(np.array(array)).to(device)

        points = torch.from_numpy(np.array(cloud.points)).to(device)
        return cls(points, there(cloud.colors), there(cloud.intensity))

    def __len__(self) -> int:
        return len(self.points)

    def rows(self, ranges: Sequence[tuple[int, int]]) -> DeviceCloud:
        """The points of one or more ranges of rows, each from its first row to before its end."""

        def some(values: Tensor) -> Tensor:
            return torch.cat([values[first:end] for first, end in ranges])

        colors = None if self.colors is None else some(self.colors)
        intensity = None if self.intensity is None else some(self.intensity)
        return DeviceCloud(some(self.points), colors, intensity)

    def shape_only(self) -> DeviceCloud:
        """The same points, black."""
        return DeviceCloud(self.points, intensity=self.points.new_zeros(len(self), dtype=torch.uint8))


def seen_there(
    points: Tensor,
    pose: Array,
    camera: Camera,
    spacing: float,
    min_depth: float,
    max_depth: float,
    buffer_step: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`render_view.seen_points` on the device of the points (N, 3): indices, pixels and depths.

    A cell of the coarse z-buffer has `buffer_step` x `buffer_step` pixels.
    """
    matrix = pose.astype(np.float32).tolist()
    # Not a matrix product, which GPUs may compute with fewer digits.
    x, y, z = (points[:, 0] * r[0] + points[:, 1] * r[1] + points[:, 2] * r[2] + r[3] for r in matrix[:3])
    u = x * camera.fx / z + (camera.cx + 0.5)
    v = y * camera.fy / z + (camera.cy + 0.5)
    inside = (
        (z > min_depth) & (z < max_depth) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    )
    index = inside.nonzero()[:, 0]
    columns, rows, z = u[index].long(), v[index].long(), z[index]
    coarse = columns // buffer_step, rows // buffer_step
    shape = -(-camera.height // buffer_step), -(-camera.width // buffer_step)
    footprint_at_1m = 0.5 * spacing * max(camera.fx, camera.fy) / buffer_step
    limit = _front_limit(z, *coarse, shape, footprint_at_1m, spacing)
    front = (z <= limit[coarse[1] * shape[1] + coarse[0]]).nonzero()[:, 0]
    return index[front], (rows * camera.width + columns)[front], z[front]


def _front_limit(
    z: Tensor, columns: Tensor, rows: Tensor, shape: tuple[int, int], footprint_at_1m: float, spacing: float
) -> Tensor:
    """`submaps.front_limit` without gaps, as (H * W,)."""
    exact = torch.log2(footprint_at_1m / z)
    levels = [(exact + overlap).ceil().clamp(0, MAX_LEVEL) for overlap in (0, OVERLAP)]
    sizes = [(-(-shape[0] // (1 << n)), -(-shape[1] // (1 << n))) for n in range(MAX_LEVEL + 1)]
    fronts = []
    for n, (height, width) in enumerate(sizes):
        depths = torch.where((levels[0] == n) | (levels[1] == n), z, torch.inf)
        nearest = z.new_full((height * width,), torch.inf)
        fronts.append(nearest.scatter_reduce_(0, (rows >> n) * width + (columns >> n), depths, "amin"))
    on_host = torch.cat(fronts).cpu().split([height * width for height, width in sizes])
    limit = np.full(shape, np.inf, np.float32)
    for n, (front, size) in enumerate(zip(on_host, sizes, strict=True)):
        nearest_of_level = front.numpy().reshape(size)
        if np.isfinite(nearest_of_level).any():
            np.minimum(limit, level_limit(nearest_of_level, n, shape, spacing, closed=True), out=limit)
    return torch.from_numpy(limit.reshape(-1)).to(z.device)


def means_there(pixel: Tensor, rows: Tensor, pixels: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`render_view.pixel_means` on the device of `rows` (N, C): pixels with points, and the means, as
    arrays."""
    counted = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
    sums = rows.new_zeros(pixels, counted.shape[1]).index_add_(0, pixel, counted)
    filled = sums[:, -1].nonzero()[:, 0]
    means = sums[filled]
    return filled.cpu().numpy(), (means[:, :-1] / means[:, -1:]).cpu().numpy()
