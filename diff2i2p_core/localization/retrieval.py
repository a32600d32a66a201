"""Which submaps an image may show: by the network's own features, or by a prior pose (METHOD 8.14)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.models.features import ImageFeatures, SubmapFeatures


class SubmapIndex:
    """The valid superpoints of all submaps, packed, to score an image against them in one product."""

    def __init__(self, submaps: Sequence[SubmapFeatures]) -> None:
        parts = [submap.nodes[submap.node_valid] for submap in submaps]
        self._nodes = torch.cat(parts)
        self._lengths = [len(part) for part in parts]

    def scores(self, image: ImageFeatures) -> Tensor:
        """(S,) mean over the image's nodes of the best similarity to each submap's superpoints."""
        similarity = image.nodes[image.node_valid] @ self._nodes.t()
        # a submap without valid superpoints scores worst
        return torch.stack(
            [
                part.amax(dim=1).mean() if part.shape[1] else similarity.new_tensor(-1.0)
                for part in similarity.split(self._lengths, dim=1)
            ]
        )


def near_prior(
    map_from_submap: NDArray[np.float64],
    map_from_camera: NDArray[np.float64],
    max_distance: float,
    max_deg: float,
) -> list[int]:
    """Submaps whose view is within both limits of a pose, nearest first."""
    found = []
    for index, view in enumerate(map_from_submap):
        distance = translation_error(view, map_from_camera) / max_distance
        angle = rotation_error_deg(view, map_from_camera) / max_deg
        if distance <= 1 and angle <= 1:
            found.append((distance + angle, index))
    return [index for _, index in sorted(found)]
