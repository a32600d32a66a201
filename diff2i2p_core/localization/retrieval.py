"""Finds the submaps that an image may show: by the network's features, or by a prior pose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.se3 import rotation_error_deg
from diff2i2p_core.mapping.packed import pack
from diff2i2p_core.models.features import ImageFeatures, SubmapFeatures

_COLUMNS = 8192
"""Superpoints scored in one product, so that the similarities fit into the processor's cache."""
_SOME_NODES = 96
"""Number of image nodes, spread over the image, that are used first if there are many submaps."""
_MANY = 128
"""If there are more submaps, some nodes score all of them, and all nodes the best half of this number."""


class SubmapIndex:
    """The valid superpoints of all submaps, packed for scoring images.

    This is the only part of a map's features that is held in memory, in half precision as in the file.
    """

    def __init__(self, submaps: Sequence[SubmapFeatures], device: torch.device | str = "cpu") -> None:
        nodes, self._lengths = pack(submaps).valid_nodes()
        self._nodes = nodes.to(device)
        self._starts = [0, *accumulate(self._lengths)]

    def scores(self, image: ImageFeatures) -> Tensor:
        """(S,) the mean over the image's nodes of the best similarity to each submap's superpoints.

        If there are many submaps, those that score low with some of the nodes keep that score, less 2.
        """
        nodes = image.nodes[image.node_valid]
        everyone = list(range(len(self._lengths)))
        if len(everyone) <= _MANY or len(nodes) <= 2 * _SOME_NODES:
            return self._scores(nodes, everyone)
        some = torch.linspace(0, len(nodes) - 1, _SOME_NODES, device=nodes.device).long()
        scores = self._scores(nodes[some], everyone)
        best = scores.topk(_MANY // 2).indices.sort().values
        scores = scores - 2
        scores[best] = self._scores(nodes, best.tolist())
        return scores

    def _scores(self, image_nodes: Tensor, submaps: list[int]) -> Tensor:
        """(len(submaps),) scores of the submaps with these indices, ascending."""
        scores, group, rows = list[Tensor](), list[int](), 0
        for submap in submaps:
            if group and rows + self._lengths[submap] > _COLUMNS:
                scores += self._group_scores(image_nodes, group)
                group, rows = [], 0
            group.append(submap)
            rows += self._lengths[submap]
        return torch.stack([*scores, *self._group_scores(image_nodes, group)])

    def _group_scores(self, image_nodes: Tensor, submaps: list[int]) -> list[Tensor]:
        parts = [self._nodes[self._starts[i] : self._starts[i + 1]] for i in submaps]
        similarity = image_nodes @ torch.cat(parts).to(image_nodes.dtype).t()
        # a submap without valid superpoints scores worst
        return [
            part.amax(dim=1).mean() if part.shape[1] else similarity.new_tensor(-1.0)
            for part in similarity.split([len(part) for part in parts], dim=1)
        ]


def near_prior(
    map_from_submap: NDArray[np.float64],
    map_from_camera: NDArray[np.float64],
    max_distance: float,
    max_deg: float,
) -> list[int]:
    """The submaps whose view is within both limits of a pose, nearest first."""
    distance = np.linalg.norm(map_from_submap[:, :3, 3] - map_from_camera[:3, 3], axis=1) / max_distance
    within = np.flatnonzero(distance <= 1)
    angle = np.array([rotation_error_deg(map_from_submap[i], map_from_camera) for i in within]) / max_deg
    near = sorted(
        (distance[index] + turn, int(index)) for index, turn in zip(within, angle, strict=True) if turn <= 1
    )
    return [index for _, index in near]
