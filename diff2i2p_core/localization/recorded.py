"""Keeps the hypotheses behind an answer, to show their matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.camera_matches import inliers_at
from diff2i2p_core.localization.hypothesis import Hypothesis, Proposer
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.typing import Array, Image


class Recorded:
    """A proposer that remembers the hypotheses of `proposer` for the last query."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self.name, self.needs_depth, self.device = proposer.name, proposer.needs_depth, proposer.device
        self.hypotheses: list[Hypothesis] = []

    def propose(self, query: Query) -> Iterator[Sequence[Hypothesis]]:
        self.hypotheses.clear()
        for group in self._proposer.propose(query):
            self.hypotheses += group
            yield group


@dataclass(frozen=True)
class Matches:
    """Matches of an image with the map, to be shown."""

    pixels: Array
    """(N, 2) in the image without distortion."""
    points: Array
    """(N, 3) map frame."""

    def right(self, map_from_camera: Array, camera: Camera, settings: LocalizerSettings) -> NDArray[np.bool_]:
        """(N,) whether they agree with a pose. `camera` has no distortion."""
        limit = settings.inlier_px(camera)
        return inliers_at(map_from_camera, self.pixels, self.points, camera, limit)[0]


def localize_with_matches(
    localizer: Localizer,
    image: Image,
    camera: Camera,
    prior: Array | None = None,
    depth: NDArray[np.float32] | None = None,
) -> tuple[Localization, Matches]:
    """The answer of `localizer.localize`, and the matches of the strongest hypothesis of the matcher that it
    comes from."""
    recorded = [Recorded(proposer) for proposer in localizer.proposers]
    watched = Localizer(localizer.map, recorded, localizer.settings)
    answer = watched.localize(image, camera, prior=prior, depth=depth)
    hypotheses = [h for r in recorded if r.name == answer.matcher for h in r.hypotheses]
    if not hypotheses:
        return answer, Matches(np.empty((0, 2)), np.empty((0, 3)))
    best = max(hypotheses, key=lambda hypothesis: hypothesis.strength)
    return answer, Matches(best.pixels, best.points)
