"""Proposes poses by registering the query's depth to the map's surface. Needs no colours and no features.

Starts are compared by a distance field, the best ones are registered roughly with few points, and the best of
these exactly. Verification compares depth and map both ways (`localization.depth_verification`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.covariance import reprojection
from diff2i2p_core.geometry.pnp import PoseEstimate
from diff2i2p_core.geometry.se3 import invert, is_near
from diff2i2p_core.localization.depth_registration import DepthFit, DepthRegistration
from diff2i2p_core.localization.depth_starts import DepthStarts
from diff2i2p_core.localization.depth_verification import with_slid
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.settings import DepthSettings
from diff2i2p_core.mapping.surface import Surface
from diff2i2p_core.typing import Array

_SUGGESTED = 4
"""Maximum number of poses for an image to decide on."""


class RegisteredDepth:
    """Proposes poses of queries that have depth; none for others, unless it is the only matcher."""

    name = "depth"
    device = torch.device("cpu")

    def __init__(self, surface: Surface, *, needs_depth: bool = False) -> None:
        self.needs_depth = needs_depth
        self.surface = surface
        self._starts = DepthStarts(surface)

    def propose(self, query: Query) -> Iterator[list[Hypothesis]]:
        """One group, because each may be the rival of another. With a prior, only those from there."""
        if query.depth is None and self.needs_depth:
            raise InputError("the matcher 'depth' needs the query's depth; give a depth image")
        registration = DepthRegistration.of(query, self.surface)
        if registration is None:
            return
        near, settings = query.prior is not None, query.settings.depth
        if query.prior is not None:
            fits = [registration.from_afar(query.prior)]
        else:
            starts = self._starts.likely(registration.view, settings.starts)
            rough = sorted((registration.rough(start) for start in starts), key=lambda found: -found[0])
            fits = [registration.fit(pose) for pose in _distinct(rough, settings.refined)]
        fits = with_slid(fits, registration.fit, settings)
        if not near:
            query.suggested.extend(_suggestions(fits, settings))
        query.clock.spent("depth")
        if fits:
            source = "the prior" if near else "the depth"
            yield [self._hypothesis(query, fit, source, near) for fit in fits]

    def _hypothesis(self, query: Query, fit: DepthFit, source: str, near: bool = False) -> Hypothesis:
        pixels = query.camera.project(fit.points)[0]
        matched = fit.matched
        error = reprojection(fit.map_from_camera, fit.feet[matched], query.camera)[0] - pixels[matched]
        squared = np.square(error).sum(axis=1)
        estimate = PoseEstimate(
            invert(fit.map_from_camera),
            matched,
            int(matched.sum()),
            float(np.sqrt(squared.mean())) if len(squared) else 0.0,
            fit.covariance,
        )
        return Hypothesis(self.name, source, pixels, fit.feet, estimate, near_prior=near, fit=fit)


def _suggestions(fits: Sequence[DepthFit], settings: DepthSettings) -> list[Array]:
    """The poses that the depth does not contradict, the best first, none near another."""
    chosen = list[Array]()
    for fit in sorted(fits, key=lambda fit: -fit.quality):
        pose = fit.map_from_camera
        fits_well = fit.comparison.agreement >= settings.rival_agreement
        if (
            fits_well
            and len(chosen) < _SUGGESTED
            and not any(is_near(pose, other, 0.3, 10) for other in chosen)
        ):
            chosen.append(pose)
    return chosen


def _distinct(rough: Sequence[tuple[float, Array]], count: int) -> list[Array]:
    """The poses of the first `count` registrations of which none has nearly the same pose as another."""
    distinct = list[Array]()
    for _, pose in rough:
        if len(distinct) < count and not any(is_near(pose, other, 0.1, 4) for other in distinct):
            distinct.append(pose)
    return distinct
