"""How well geometry features work in a place that they were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.pnp import NoPose, PnpSettings, solve_pnp
from diff2i2p_core.geometry.se3 import invert, is_near, transform_points
from diff2i2p_core.models.geometry_features import GeometryFeatures
from diff2i2p_core.ops.mutual import mutual_nearest
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
    error: float
    """Median error in pixels of the right matches."""

    @property
    def merit(self) -> float:
        """What the best weights have most of: right poses, and right matches where these are equal."""
        return self.poses + 0.1 * self.share


def score_places(model: GeometryFeatures, places: Sequence[Place], most: int) -> Score:
    """The mean over places."""
    return Score(*np.mean([score_place(model, place, most) for place in places], axis=0).tolist())


def score_place(model: GeometryFeatures, place: Place, most: int = 60) -> Score:
    """The score of up to `most` pairs, spread over a place."""
    rows = []
    for view in np.unique(np.linspace(0, len(place) - 1, most).round().astype(int)):
        rows.append(_score(model, place, int(view)))
    return Score(*np.mean(rows, axis=0).tolist())


def _score(model: GeometryFeatures, place: Place, view: int) -> tuple[float, float, float, float]:
    camera, render = place.camera, place.renders[view].astype(np.float32)
    of_photo = model.describe_image(place.images[place.frame_of[view]], _FEATURES)
    of_shape = model.describe_depth(render, camera, _FEATURES)
    matches = mutual_nearest(of_photo.descriptors, of_shape.descriptors, -1.0)
    a, b, likeness = (rows.cpu() for rows in matches)
    if not len(a):
        return 0.0, 0.0, 0.0, _RIGHT_PX
    columns, rows = of_shape.pixels.cpu()[b].long().numpy().T
    points = back_project(render, camera)[rows, columns].astype(np.float64)
    truth = place.image_from_render[view]
    pixels = of_photo.pixels.cpu()[a].numpy().astype(np.float64)
    projected, z = camera.project(transform_points(truth, points))
    errors = np.linalg.norm(projected - pixels, axis=1)
    right = (errors < _RIGHT_PX) & (z > 0)
    pnp = replace(PnpSettings(), max_error_px=_RIGHT_PX)
    estimate = solve_pnp(pixels, points, camera, likeness.numpy().astype(np.float64), pnp)
    found = not isinstance(estimate, NoPose) and is_near(
        invert(estimate.camera_from_points), invert(truth), _METRES, _DEGREES
    )
    error = float(np.median(errors[right])) if right.any() else _RIGHT_PX
    return float(right.sum()), float(right.mean()), float(found), error
