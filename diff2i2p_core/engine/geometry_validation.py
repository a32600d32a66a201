"""How well geometry features work in a place that they were not trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.pnp import NoPose, PnpSettings, solve_pnp
from diff2i2p_core.geometry.se3 import invert, is_near, transform_points
from diff2i2p_core.models.geometry_features import GeometryFeatures, described, grid_features
from diff2i2p_core.models.xfeat import DenseFeatures
from diff2i2p_core.ops.depth_channels import depth_channels
from diff2i2p_core.ops.mutual import mutual_nearest
from diff2i2p_core.pairs.render_batches import photo_tensor
from diff2i2p_core.pairs.render_pairs import Place

_FEATURES, _RIGHT_PX = 1500, 8.0
_METRES, _DEGREES = 0.25, 10.0


class Score(NamedTuple):
    """Means over the pairs of a place."""

    matches: float
    """Right mutual matches of a pair."""
    share: float
    """Right ones among the mutual matches."""
    poses: float
    """Pairs whose pose is right within 25 cm and 10 degrees."""


@torch.no_grad()
def score_place(model: GeometryFeatures, place: Place, most: int = 60) -> Score:
    """The score of up to `most` pairs, spread over a place."""
    rows = []
    for view in np.unique(np.linspace(0, len(place) - 1, most).round().astype(int)):
        rows.append(_score(model, place, int(view)))
    return Score(*np.mean(rows, axis=0).tolist())


def _score(model: GeometryFeatures, place: Place, view: int) -> tuple[float, float, float]:
    camera, render = place.camera, place.renders[view].astype(np.float32)
    channels = torch.from_numpy(depth_channels(render, camera))[None]
    photo = photo_tensor(place.images[place.frame_of[view]])[None]
    of_photo = grid_features(_dense(*described(model.photos, photo), render.shape), None, _FEATURES)
    of_shape = grid_features(_dense(*model.shapes(channels), render.shape), torch.from_numpy(render > 0), _FEATURES)
    a, b, likeness = mutual_nearest(of_photo.descriptors, of_shape.descriptors, -1.0)
    if not len(a):
        return 0.0, 0.0, 0.0
    columns, rows = of_shape.pixels[b].long().numpy().T
    points = back_project(render, camera)[rows, columns].astype(np.float64)
    truth = place.image_from_render[view]
    pixels = of_photo.pixels[a].numpy().astype(np.float64)
    projected, z = camera.project(transform_points(truth, points))
    right = (np.linalg.norm(projected - pixels, axis=1) < _RIGHT_PX) & (z > 0)
    pnp = replace(PnpSettings(), max_error_px=_RIGHT_PX)
    estimate = solve_pnp(pixels, points, camera, likeness.numpy().astype(np.float64), pnp)
    found = not isinstance(estimate, NoPose) and is_near(
        invert(estimate.camera_from_points), invert(truth), _METRES, _DEGREES
    )
    return float(right.sum()), float(right.mean()), float(found)


def _dense(descriptors: Tensor, logits: Tensor, size: tuple[int, int]) -> DenseFeatures:
    cells = logits[0, 0].sigmoid()
    return DenseFeatures(F.normalize(descriptors[0], dim=0), torch.zeros(0), cells, size)
