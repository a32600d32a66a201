"""Keeps the hypotheses behind an answer, to show their matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import inliers_at
from diff2i2p_core.localization.hypothesis import Hypothesis, Proposer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.typing import Array


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


def matches_of(
    answer: Localization, recorded: Sequence[Recorded], camera: Camera, settings: LocalizerSettings
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Pixels (N, 2) and points (N, 3) of the matches with the most support, of the matcher that the answer
    comes from, and which of them agree with the answer's pose. `camera` has no distortion."""
    hypotheses = [h for r in recorded if r.name == answer.matcher for h in r.hypotheses]
    if not hypotheses:
        return np.empty((0, 2)), np.empty((0, 3)), np.zeros(0, bool)
    best = max(hypotheses, key=lambda hypothesis: hypothesis.support)
    if answer.map_from_camera is None:
        return best.pixels, best.points, np.zeros(len(best.pixels), bool)
    right, _, _ = inliers_at(
        answer.map_from_camera, best.pixels, best.points, camera, settings.inlier_px(camera)
    )
    return best.pixels, best.points, right
