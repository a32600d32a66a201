"""Proposes poses with the Diff2I2P network, which matches the image with similar submaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.pnp import solve_pnp
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.retrieval import SubmapIndex, near_prior
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.mapping.packed import SubmapCache
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import ImageFeatures
from diff2i2p_core.models.inputs import depth_tensor, image_tensor, input_camera
from diff2i2p_core.typing import Array


class Diff2I2PNetwork:
    """Proposes poses from a map's submaps, a few at a time, most likely first."""

    name = "network"

    def __init__(self, model: Diff2I2P, point_map: PointMap) -> None:
        self.model = model
        self.device = model.device
        self.needs_depth = model.config.mode == "rgbd"
        self.submaps = SubmapCache(point_map.submaps, model.device)
        self._views = point_map.views
        self._colored = point_map.cloud.colors is not None
        self._index = SubmapIndex(point_map.submaps, model.device)

    def propose(self, query: Query) -> Iterator[list[Hypothesis]]:
        """First the best submaps, until one is matched clearly, at most `candidates`. Then, if the map's
        colours can confirm a pose, the other `colored_candidates` one by one."""
        settings = query.settings
        features = self.encode(query)
        most = max(settings.candidates, settings.colored_candidates if self._confirms(settings) else 0)
        near = self._near(query)[:most]
        ranked = near or self.candidates(features)[:most]
        # Without a prior, at least two places are compared: a single one could not be ambiguous.
        first = 1 if near else 2
        group: list[Hypothesis] = []
        for together in (ranked[:first], *([submap] for submap in ranked[first : settings.candidates])):
            group += self._match(query, features, together, bool(near))
            if any(_is_plain(hypothesis, settings) for hypothesis in group):
                break
        yield group
        if self._confirms(settings):
            for submap in ranked[len(group) :]:
                yield self._match(query, features, [submap], bool(near))

    def encode(self, query: Query) -> ImageFeatures:
        """The network's features of the query's image."""
        config = self.model.config
        tensor = image_tensor(query.image, query.camera, config, self.device)
        points = None
        if config.mode == "rgbd":
            if query.depth is None:
                raise InputError(
                    f"weights '{config.name}' need the query's depth; give a depth image, or mono weights"
                )
            points = depth_tensor(query.depth, query.camera, config).to(self.device)
        precision = getattr(torch, query.settings.precision)
        with torch.autocast(tensor.device.type, precision, enabled=precision != torch.float32):
            features = self.model.encode_image(tensor, points, to_match=True)[0]
        query.clock.spent("image")
        return features

    def candidates(self, features: ImageFeatures) -> list[int]:
        """All submaps, the most similar to the image first."""
        scores = self._index.scores(features)
        return scores.argsort(descending=True, stable=True).tolist()

    def _confirms(self, settings: LocalizerSettings) -> bool:
        return self._colored and settings.align

    def _near(self, query: Query) -> list[int]:
        """The submaps near the prior, nearest first. Empty without a prior, or far from the map."""
        if query.prior is None:
            return []
        limits = query.settings.prior_distance, query.settings.prior_angle_deg
        return near_prior(self._views, query.prior, *limits)

    def _match(
        self, query: Query, features: ImageFeatures, submaps: list[int], near: bool
    ) -> list[Hypothesis]:
        matched = self.model.match_many(features, [self.submaps[submap] for submap in submaps])
        network = input_camera(query.camera, self.model.config)
        scale = np.array([query.camera.width / network.width, query.camera.height / network.height])
        matches: list[tuple[Array, Array, Array]] = []
        for submap, match in zip(submaps, matched, strict=True):
            pixels = (match.pixels.cpu().numpy().astype(np.float64) + 0.5) * scale - 0.5
            points = transform_points(self._views[submap], match.points.cpu().numpy())
            matches.append((pixels, points, match.scores.cpu().numpy().astype(np.float64)))
        query.clock.spent("match")
        pnp = replace(query.settings.pnp, max_error_px=query.settings.inlier_px(query.camera))
        hypotheses = [
            Hypothesis(
                self.name,
                f"submap {submap}",
                pixels,
                points,
                solve_pnp(pixels, points, query.camera, scores, pnp),
                submap=submap,
                near_prior=near,
            )
            for submap, (pixels, points, scores) in zip(submaps, matches, strict=True)
        ]
        query.clock.spent("pose")
        return hypotheses


def _is_plain(hypothesis: Hypothesis, settings: LocalizerSettings) -> bool:
    """Whether a pose is supported so well that no other submap needs to be matched."""
    support = hypothesis.support
    return support >= settings.plain_inliers and support >= settings.plain_inlier_ratio * len(
        hypothesis.pixels
    )
