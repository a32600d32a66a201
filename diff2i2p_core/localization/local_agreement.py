"""How well an image agrees with a render of the map: whether features are found where a pose predicts them.

Inliers are found by searching for a pose that many matches agree on, so wrong poses have many, too, in maps
whose features are much alike. Here the pose is given, and each feature of the render is looked for only
around its predicted pixel. At the right pose, most are there; at a wrong one, anywhere in the window.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.mapping.packed_views import ViewFeatures
from diff2i2p_core.models.geometry_features import STRIDE
from diff2i2p_core.typing import Array

_RADIUS = 4
"""Cells of `STRIDE` pixels that are searched to each side of a predicted pixel."""
_THERE = 1
"""Cells. Features that are found within this distance agree; chance is a ninth of them."""
_MOST = 600
"""Number of features that are looked for, spread over all."""


@torch.no_grad()
def local_agreement(dense: Tensor, camera: Camera, view: ViewFeatures, camera_from_points: Array) -> float:
    """The fraction of a render's features in the image that are found within a cell of where the pose
    (4, 4) predicts them; 0 if none of them is in the image.

    `dense` (h, w, C) are unit-length descriptors every `STRIDE` pixels of the image of `camera`.
    """
    pixels, z = camera.project(transform_points(camera_from_points, view.points))
    inside = np.flatnonzero(camera.contains(pixels, z))
    inside = inside[:: 1 + len(inside) // _MOST]
    if not len(inside):
        return 0.0
    theirs = view.descriptors[torch.from_numpy(inside).to(view.descriptors.device)]
    cells = torch.from_numpy(np.rint((pixels[inside] - (STRIDE - 1) / 2) / STRIDE).astype(np.int64))
    return _share_there(dense, cells.to(dense.device), theirs.to(dense.device).float())


def _share_there(dense: Tensor, cells: Tensor, descriptors: Tensor) -> float:
    """Of descriptors (N, C), the share whose most similar cell around their own (N, 2) is at most `_THERE`
    away."""
    height, width = dense.shape[:2]
    steps = torch.arange(-_RADIUS, _RADIUS + 1, device=dense.device)
    window = torch.cartesian_prod(steps, steps)
    column, row = (cells[:, None] + window).unbind(2)
    outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    likeness = torch.einsum("nkc,nc->nk", dense.flatten(0, 1)[flat], descriptors)
    best = window[likeness.masked_fill(outside, -torch.inf).argmax(dim=1)]
    return float((best.abs().amax(dim=1) <= _THERE).float().mean())
