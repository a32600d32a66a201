"""How well an image agrees with a render of the map: whether features are found where a pose predicts them.

Inliers are found by searching for a pose that many matches agree on, so wrong poses have many, too, in maps
whose features are much alike. Here the pose is given, and each feature of the render is looked for only
around its predicted pixel. At the right pose, most are there; at a wrong one, anywhere in the window.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
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
_AT_ONCE = 64
"""Features whose windows are compared at once, with all cells of their rows: on a CPU, the product takes less
than half of the time of gathering each window's descriptors."""


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
    order = np.argsort(cells[:, 1], kind="stable")
    rows = torch.from_numpy(inside[order]).to(view.descriptors.device)
    theirs = view.descriptors.index_select(0, rows).to(dense.device).float()
    return _share_there(dense, cells[order], theirs)


def _share_there(dense: Tensor, cells: NDArray[np.int64], descriptors: Tensor) -> float:
    """Of descriptors (N, C), the share whose most similar cell around their own (N, 2) is at most `_THERE`
    away. The cells are (column, row), ordered by row."""
    height, width = dense.shape[:2]
    side = 2 * _RADIUS + 1
    margin = (_RADIUS, _RADIUS + 1) * 2  # the last half cell's pixels are rounded to the next one
    padded = F.pad(dense, (0, 0, *margin))
    inside = F.pad(dense.new_ones(height, width), margin).flatten() > 0
    steps = np.arange(side)
    window = (steps[:, None] * padded.shape[1] + steps).ravel()
    there = torch.zeros((), dtype=torch.long, device=dense.device)
    for first in range(0, len(cells), _AT_ONCE):
        some = cells[first : first + _AT_ONCE]
        top, bottom = int(some[0, 1]), int(some[-1, 1]) + side
        similarity = descriptors[first : first + _AT_ONCE] @ padded[top:bottom].flatten(0, 1).T
        corner = some[:, 1] * padded.shape[1] + some[:, 0]
        flat = torch.from_numpy(corner[:, None] + window).to(dense.device)
        likeness = similarity.gather(1, flat - top * padded.shape[1])
        best = likeness.masked_fill(~inside[flat], -torch.inf).argmax(dim=1)
        row, column = best // side - _RADIUS, best % side - _RADIUS
        there += ((row.abs() <= _THERE) & (column.abs() <= _THERE)).sum()
    return float(there) / len(cells)
