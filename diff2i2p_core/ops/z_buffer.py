"""Hard point rendering: the nearest point at every pixel, with one scatter and no loop over points."""

from __future__ import annotations

import torch
from torch import Tensor

from diff2i2p_core.ops.backend import use_triton


def z_buffer(
    points: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    *,
    near: float = 0.05,
    far: float = float("inf"),
    released: bool = False,
) -> tuple[Tensor, Tensor]:
    """Depth (B, H, W) in metres and the index (B, H, W) of the visible point; 0 and -1 if there is none.

    Points (B, N, 3) in the camera frame, intrinsics (B, 3, 3) or (3, 3), size (H, W). Points that are not
    finite, behind the camera or not in near < z < far are left out. Among equal depths, the lowest index
    wins. Depth is differentiable only in the z of the nearest points, because pixels are rounded; use `splat`
    for gradients to the whole pose. `released` truncates the pixels (u, v) / (z + 1e-5) instead of rounding
    them.
    """
    near = max(near, 0.0)
    if points.dtype == intrinsics.dtype == torch.float32 and use_triton(points):
        from diff2i2p_core.ops.kernels.z_buffer import ZBuffer

        drawn: tuple[Tensor, Tensor] = ZBuffer.apply(  # type: ignore[no-untyped-call]
            points, intrinsics, size, near, far, released
        )
        return drawn
    return _reference(points, intrinsics, size, near, far, released)


def _reference(
    points: Tensor, intrinsics: Tensor, size: tuple[int, int], near: float, far: float, released: bool
) -> tuple[Tensor, Tensor]:
    height, width = size
    batch, count = points.shape[:2]
    with torch.no_grad():
        pixels, z = project(points, intrinsics, 1e-5 if released else 0.0)
        column, row = (pixels.floor() if released else pixels.round()).nan_to_num(-1.0, -1.0, -1.0).unbind(-1)
        inside = (z > near) & (z < far) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        if released:  # truncation maps (-1, 0) to 0, but the released code keeps only pixels >= 0
            inside &= (pixels >= 0).all(-1)
        sample = torch.arange(batch, device=points.device)[:, None]
        cell = ((sample * height + row.clamp(0, height - 1)) * width + column.clamp(0, width - 1)).long()[
            inside
        ]
        z = z[inside]
        index = (sample * count + torch.arange(count, device=points.device)).expand_as(inside)[inside]
        nearest = torch.full((batch * height * width,), torch.inf, dtype=z.dtype, device=z.device)
        nearest.scatter_reduce_(0, cell, z, "amin")
        wins = z == nearest[cell]
        none = batch * count
        winner = torch.full((batch * height * width,), none, dtype=torch.long, device=z.device)
        winner.scatter_reduce_(0, cell[wins], index[wins], "amin")
    # The appended zero is for "no point".
    flat_z = torch.cat([points[..., 2].reshape(-1), points.new_zeros(1)])
    depth = flat_z.index_select(0, winner).reshape(batch, height, width)
    winner = torch.where(winner == none, -1, winner % max(count, 1))
    return depth, winner.reshape(batch, height, width)


def project(points: Tensor, intrinsics: Tensor, epsilon: float = 0.0) -> tuple[Tensor, Tensor]:
    """Pixels (B, N, 2) (u, v) and depths (B, N) of points (B, N, 3) in the camera frame."""
    intrinsics = intrinsics.expand(len(points), 3, 3)
    x, y, z = points.unbind(-1)
    k = intrinsics[:, None]
    depth = z + epsilon
    u = (k[..., 0, 0] * x + k[..., 0, 1] * y + k[..., 0, 2] * z) / depth
    v = (k[..., 1, 1] * y + k[..., 1, 2] * z) / depth
    return torch.stack([u, v], dim=-1), z
