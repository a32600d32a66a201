"""Training and test pairs as network inputs, and batches of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.inputs import (
    depth_tensor,
    image_tensor,
    input_camera,
    input_depth,
    input_image,
    point_tensor,
)
from diff2i2p_core.ops.pyramid import PointPyramid, build_pyramid, pack_pyramids
from diff2i2p_core.pairs.targets import Matching, Targets, build_targets
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class Pair:
    """One image and one cloud as network inputs, with the ground truth."""

    image: Tensor
    """(1, C, H, W)."""
    image_points: Tensor | None
    """(1, 3, H, W) back-projected query depth; `rgbd` mode only."""
    pyramid: PointPyramid
    features: Tensor
    """(N_0, C)."""
    camera: Camera
    """The camera of the network's input image."""
    camera_from_cloud: Array
    targets: Targets
    index: int
    """Number of the pair in its run. It seeds all random choices for it, including those of the losses."""
    name: str
    """"scene/imageid_cloudid"."""
    rgb: Tensor
    """(3, H, W) uint8 input image before normalisation, for pictures and the diffusion prior."""
    image_key: str | None = None
    """Identifies the original image, so that results can be cached. None if the image was augmented."""


class PairSource(Protocol):
    """Pairs of a run. Numbers continue over epochs. Pair n depends only on the source's seed and n."""

    epoch_length: int

    def __getitem__(self, n: int) -> Pair: ...


@dataclass(frozen=True)
class Batch:
    """A batch of pairs with images of one size."""

    images: Tensor
    image_points: Tensor | None
    pyramid: PointPyramid
    features: Tensor
    pairs: list[Pair]

    def to(self, device: torch.device | str) -> Batch:
        """The network's inputs on `device`; the ground truth stays where it is."""
        points = None if self.image_points is None else self.image_points.to(device)
        return replace(
            self,
            images=self.images.to(device),
            image_points=points,
            pyramid=self.pyramid.to(device),
            features=self.features.to(device),
        )


def make_pair(
    image: NDArray[np.uint8],
    depth: NDArray[np.float32],
    camera: Camera,
    cloud: PointCloud,
    camera_from_cloud: Array,
    config: ModelConfig,
    *,
    index: int,
    name: str,
    image_key: str | None = None,
    min_overlap: float = 0.0,
    matching: Matching = "mutual_nearest",
) -> Pair | None:
    """A pair from an image (H, W, 3) RGB of `camera`, its registered depth (H, W) in metres (0 unknown) and a
    cloud with the model's spacing and point features. None if less than `min_overlap` of the pixels with
    depth have a point."""
    at_input = input_camera(camera, config)
    small_depth = input_depth(depth, camera, config)
    pyramid = build_pyramid(cloud.points, config.points.voxel, config.points.neighbor_limits)
    targets = build_targets(small_depth, at_input, pyramid, camera_from_cloud, config, matching)
    if targets.overlap < min_overlap:
        return None
    rgb = np.ascontiguousarray(input_image(image, camera, config))
    return Pair(
        image=image_tensor(image, camera, config),
        image_points=depth_tensor(depth, camera, config) if config.mode == "rgbd" else None,
        pyramid=pyramid,
        features=point_tensor(cloud, config),
        camera=at_input,
        camera_from_cloud=camera_from_cloud,
        targets=targets,
        index=index,
        name=name,
        rgb=torch.from_numpy(rgb).permute(2, 0, 1),
        image_key=image_key,
    )


def collate(pairs: Sequence[Pair]) -> Batch:
    """Stack the images and pack the clouds."""
    points = [p.image_points for p in pairs]
    return Batch(
        images=torch.cat([p.image for p in pairs]),
        image_points=torch.cat([p for p in points if p is not None]) if points[0] is not None else None,
        pyramid=pack_pyramids([p.pyramid for p in pairs]),
        features=torch.cat([p.features for p in pairs]),
        pairs=list(pairs),
    )


def true_points(
    targets: Targets, camera_from_cloud: Array, rows: NDArray[np.int64] | slice = slice(None)
) -> Array:
    """(C, 3) points of the fine pixels `rows` in the cloud frame; the camera's position without depth."""
    return transform_points(invert(camera_from_cloud), targets.pixel_points[rows])
