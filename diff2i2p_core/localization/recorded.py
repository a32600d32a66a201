"""Keeps the hypotheses behind an answer, to show their matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import inliers_at
from diff2i2p_core.localization.hypothesis import Hypothesis, Proposer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.typing import Array


@dataclass
class Recorded:
    """A proposer that remembers what `proposer` proposed."""

    proposer: Proposer
    hypotheses: list[Hypothesis] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.proposer.name

    @property
    def needs_depth(self) -> bool:
        return self.proposer.needs_depth

    @property
    def device(self) -> torch.device:
        return self.proposer.device

    def propose(self, query: Query) -> Iterator[Sequence[Hypothesis]]:
        self.hypotheses.clear()
        for group in self.proposer.propose(query):
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
