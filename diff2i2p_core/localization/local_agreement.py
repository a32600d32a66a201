"""How well an image agrees with a render of the map: whether features are found where a pose predicts them.

Inliers are found by searching for a pose that many matches agree on, so wrong poses have many, too, in maps
whose features are much alike. Here the pose is given, and each feature of the render is looked for only
around its predicted pixel. At the right pose, most are there; at a wrong one, anywhere in the window.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.compiled import compiled
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
    cells = np.rint((pixels[inside] - (STRIDE - 1) / 2) / STRIDE).astype(np.int64)
    rows = torch.from_numpy(inside).to(view.descriptors.device)
    theirs = view.descriptors.index_select(0, rows).cpu().float().numpy()
    return int(_number_there(dense.cpu().numpy(), cells, theirs)) / len(cells)


@compiled
def _number_there(
    dense: NDArray[np.float32], cells: NDArray[np.int64], descriptors: NDArray[np.float32]
) -> int:
    """Of descriptors (N, C), the number of those whose most similar cell around their own, (N, 2) (column,
    row), is at most `_THERE` away."""
    height, width, channels = dense.shape
    there = 0
    for i in range(len(cells)):
        column, row = cells[i]
        best, is_there = -np.inf, False
        for v in range(max(row - _RADIUS, 0), min(row + _RADIUS + 1, height)):
            for u in range(max(column - _RADIUS, 0), min(column + _RADIUS + 1, width)):
                likeness = np.float32(0)
                for channel in range(channels):
                    likeness += descriptors[i, channel] * dense[v, u, channel]
                if likeness > best:
                    best, is_there = likeness, abs(v - row) <= _THERE and abs(u - column) <= _THERE
        there += is_there
    return there
