"""Which submaps an image may show: by the network's own features, or by a prior pose (METHOD 8.14)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.se3 import rotation_error_deg
from diff2i2p_core.mapping.packed import pack
from diff2i2p_core.models.features import ImageFeatures, SubmapFeatures

_COLUMNS = 8192
"""Superpoints scored in one product: as many similarities as a processor's cache holds."""


class SubmapIndex:
    """The valid superpoints of all submaps, packed, to score an image against them.

    This is the only part of a map's features that is held in memory.
    """

    def __init__(self, submaps: Sequence[SubmapFeatures], device: torch.device | str = "cpu") -> None:
        parts = pack(submaps).valid_nodes()
        self._nodes = torch.cat(parts).to(device).float()
        self._lengths = [len(part) for part in parts]

    def scores(self, image: ImageFeatures) -> Tensor:
        """(S,) mean over the image's nodes of the best similarity to each submap's superpoints."""
        nodes = image.nodes[image.node_valid]
        return torch.cat([self._scores(nodes, *group) for group in self._groups()])

    def _groups(self) -> Iterator[tuple[Tensor, list[int]]]:
        """Superpoints and sizes of a few submaps at a time."""
        start, rows, sizes = 0, 0, list[int]()
        for length in self._lengths:
            if sizes and rows + length > _COLUMNS:
                yield self._nodes[start : start + rows], sizes
                start, rows, sizes = start + rows, 0, []
            rows += length
            sizes.append(length)
        yield self._nodes[start : start + rows], sizes

    @staticmethod
    def _scores(image_nodes: Tensor, superpoints: Tensor, sizes: list[int]) -> Tensor:
        similarity = image_nodes @ superpoints.t()
        # a submap without valid superpoints scores worst
        return torch.stack(
            [
                part.amax(dim=1).mean() if part.shape[1] else similarity.new_tensor(-1.0)
                for part in similarity.split(sizes, dim=1)
            ]
        )


def near_prior(
    map_from_submap: NDArray[np.float64],
    map_from_camera: NDArray[np.float64],
    max_distance: float,
    max_deg: float,
) -> list[int]:
    """Submaps whose view is within both limits of a pose, nearest first."""
    distance = np.linalg.norm(map_from_submap[:, :3, 3] - map_from_camera[:3, 3], axis=1) / max_distance
    within = np.flatnonzero(distance <= 1)
    angle = np.array([rotation_error_deg(map_from_submap[i], map_from_camera) for i in within]) / max_deg
    found = sorted(
        (distance[index] + turn, int(index)) for index, turn in zip(within, angle, strict=True) if turn <= 1
    )
    return [index for _, index in found]
