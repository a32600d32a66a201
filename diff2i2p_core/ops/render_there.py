"""Views of a cloud in the memory of a GPU: `render_view` there.

Our kernels make the whole view, and image and depth stay there for the network that describes the image.
Where they do not run (`ops.backend`), torch's kernels find the pixels with points; the CPU fills the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.ops.backend import use_triton
from diff2i2p_core.ops.device_cloud import DeviceCloud, means_there, seen_there
from diff2i2p_core.ops.render_view import (
    REACH,
    RenderedView,
    background_side,
    buffer_step,
    filled_view,
    shades_of,
)
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class DeviceView:
    """`RenderedView` with image and depth as tensors on one device."""

    image: Tensor
    depth: Tensor
    camera: Camera
    camera_from_cloud: Array

    def known_points(self, pixels: Tensor) -> tuple[Array, Tensor]:
        """As `RenderedView.known_points`. Only these points are copied to the CPU."""
        inside = (pixels > -0.5).all(1) & (pixels[:, 0] < self.camera.width - 0.5)
        inside &= pixels[:, 1] < self.camera.height - 0.5
        columns, rows = torch.where(inside[:, None], pixels, 0.0).round().long().unbind(1)
        depth = torch.where(inside, self.depth[rows, columns], 0.0)
        known = depth.nonzero()[:, 0]
        u, v, z = torch.column_stack([pixels, depth])[known].cpu().numpy().astype(np.float64).T
        in_camera = self.camera.unproject(np.column_stack([u, v]), z)
        return transform_points(invert(self.camera_from_cloud), in_camera), known


View = RenderedView | DeviceView


def render_view_there(
    cloud: DeviceCloud,
    camera_from_cloud: ArrayLike,
    camera: Camera,
    spacing: float,
    *,
    min_depth: float = 0.1,
    max_depth: float = 10.0,
) -> View:
    """As `render_view`."""
    shades = shades_of(cloud.colors, cloud.intensity)
    pose = np.asarray(camera_from_cloud, np.float64)
    scene = pose, camera, spacing, min_depth, max_depth, buffer_step(camera)
    if use_triton(cloud.points):
        from diff2i2p_core.ops.kernels.view_image import image_and_depth
        from diff2i2p_core.ops.kernels.view_points import pixel_sums

        sums = pixel_sums(cloud.points, shades[:, None] if shades.dim() == 1 else shades, *scene)
        image, depth = image_and_depth(sums, REACH * spacing * camera.fx, background_side(camera.width))
        return DeviceView(image[..., 0] if shades.dim() == 1 else image, depth, camera, pose)
    seen, pixel, z = seen_there(cloud.points, *scene)
    rows = torch.column_stack([1 / z, shades[seen].float()])
    pixels = means_there(pixel, rows, camera.width * camera.height)
    return filled_view(*pixels, tuple(shades.shape[1:]), camera, pose, spacing)


def render_shape_there(
    cloud: DeviceCloud,
    camera_from_cloud: ArrayLike,
    camera: Camera,
    spacing: float,
    *,
    min_depth: float = 0.1,
    max_depth: float = 10.0,
) -> View:
    """As `render_shape`."""
    black = cloud.shape_only()
    return render_view_there(
        black, camera_from_cloud, camera, spacing, min_depth=min_depth, max_depth=max_depth
    )
