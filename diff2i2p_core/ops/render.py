"""Renders a cloud from a pose as a dense depth map: splatted, then densified."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diff2i2p_core.ops.densify import densify
from diff2i2p_core.ops.splat import scaled_intrinsics, splat_depth
from diff2i2p_core.ops.z_buffer import project, z_buffer

NEAR, FAR = 0.05, 15.0
"""Metres; the range of the released code."""


class RenderedDepth(NamedTuple):
    depth: Tensor
    """(B, h, w) metres; 0 where there are no points nearby."""
    visible: Tensor
    """(B,) fraction of the points that are in the image; the released code skips CSD below 0.3."""


def render_depth(
    points: Tensor,
    camera_from_cloud: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    *,
    scale: float = 0.25,
    gamma: float = 0.05,
    released: bool = False,
    blur_sigma: float = 1.0,
) -> RenderedDepth:
    """Points (B, N, 3) seen by cameras (B, 4, 4) with intrinsics (B, 3, 3) of an image of `size` (H, W).

    Uses the soft splat at `scale` times the image's size, so that points share pixels and the whole pose gets
    gradients, then densification without dilation. `released` uses the hard z-buffer at full size and the
    released densification.
    """
    # Not `@`, because automatic mixed precision would round it to a few millimetres.
    turned = (points[:, :, None] * camera_from_cloud[:, None, :3, :3]).sum(-1)
    in_camera = turned + camera_from_cloud[:, None, :3, 3]
    with torch.no_grad():
        pixels, z = project(in_camera, intrinsics)
        inside = (pixels > -0.5) & (pixels < pixels.new_tensor([size[1], size[0]]) - 0.5)
        visible = (inside.all(-1) & (z > NEAR) & (z < FAR)).to(points.dtype).mean(1)
    if released:
        sparse, _ = z_buffer(in_camera, intrinsics, size, near=NEAR, far=FAR, released=True)
        return RenderedDepth(densify(sparse, blur_sigma=blur_sigma, released=True), visible)
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    k = scaled_intrinsics(intrinsics, small[1] / size[1], small[0] / size[0])
    soft = splat_depth(in_camera, k, small, gamma=gamma, near=NEAR, far=FAR)
    return RenderedDepth(densify(soft.depth, dilation=0, blur_sigma=blur_sigma), visible)
