"""Computes the network's features of the submaps for views of a cloud."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import SubmapFeatures
from diff2i2p_core.models.inputs import point_tensor
from diff2i2p_core.ops.pyramid import PointPyramid, build_pyramid

MIN_SUBMAP_POINTS = 300
"""Views with fewer points are left out."""


def encode_views(
    cloud: BlockCloud, map_from_views: NDArray[np.float64], model: Diff2I2P, settings: SubmapSettings
) -> Iterator[SubmapFeatures | None]:
    """The submaps of views (V, 4, 4); None for a view that sees too little."""

    def cut(map_from_view: NDArray[np.float64]) -> tuple[PointPyramid, Tensor] | None:
        submap = cloud.cut(invert(map_from_view), settings)
        return network_input(submap, model.config) if len(submap) >= MIN_SUBMAP_POINTS else None

    if model.device.type == "cpu":
        yield from (inputs and encode(model, *inputs) for inputs in map(cut, map_from_views))
        return
    with ThreadPoolExecutor(
        min(8, os.cpu_count() or 1)
    ) as pool:  # the GPU is faster than cutting on one core
        yield from (inputs and encode(model, *inputs) for inputs in pool.map(cut, map_from_views))


def network_input(cloud: PointCloud, config: ModelConfig) -> tuple[PointPyramid, Tensor]:
    """The network's inputs for one cloud at its input spacing."""
    pyramid = build_pyramid(cloud.points, config.points.voxel, config.points.neighbor_limits)
    return pyramid, point_tensor(cloud, config)


@torch.inference_mode()
def encode(model: Diff2I2P, pyramid: PointPyramid, features: Tensor) -> SubmapFeatures:
    """The network's features of one cloud, moved to the CPU."""
    return model.encode_cloud(pyramid.to(model.device), features.to(model.device))[0].to("cpu")
