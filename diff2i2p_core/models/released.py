"""The architecture of the published checkpoints."""

from __future__ import annotations

from typing import Literal

from diff2i2p_core.models.config import MatchingConfig, ModelConfig, PointConfig

ReleasedDataset = Literal["7scenes", "rgbd_scenes_v2"]
"""The benchmarks with published checkpoints."""


def released_config(dataset: ReleasedDataset = "7scenes") -> ModelConfig:
    """The configuration of the published checkpoints: query depth and the released normalisation.

    The settings of matching are also those of 2D3D-MATR on the same benchmark.
    """
    points = PointConfig(normalization="positive_sum")
    matching = MatchingConfig()
    if dataset == "rgbd_scenes_v2":
        matching = MatchingConfig(coarse_top_k=5, coarse_distance=0.85, fine_top_k=2)
    return ModelConfig(name=f"released-{dataset}", mode="rgbd", points=points, matching=matching)
