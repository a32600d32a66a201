"""Converts images, depth and clouds to the network's input tensors."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.image_branch import COLOR_SCALE
from diff2i2p_core.models.image_kinds import image_kind


def input_camera(camera: Camera, config: ModelConfig) -> Camera:
    """The camera of the network's input image: resampled to the configured height, aspect kept."""
    height = config.image.height
    if height is None or height == camera.height:
        return camera
    return camera.scaled_to(max(1, round(camera.width * height / camera.height)), height)


def input_image(image: NDArray[np.uint8], camera: Camera, config: ModelConfig) -> NDArray[np.uint8]:
    """The image (H, W, 3) of `camera`, resampled to the network's input size."""
    camera.check_size(image.shape, "image")
    return resized(image, input_camera(camera, config))


def resized(image: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """The image, resampled to the size of `camera`; itself if it has that size."""
    if image.shape[:2] == (camera.height, camera.width):
        return image
    size = (camera.width, camera.height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def image_tensor(
    image: NDArray[np.uint8], camera: Camera, config: ModelConfig, device: torch.device | str = "cpu"
) -> Tensor:
    """(H, W, 3) uint8 RGB of `camera` to (1, C, H', W'), resampled and normalised for the image branch."""
    # torch needs writable memory, but images decoded by other libraries are often read-only
    small = np.require(input_image(image, camera, config), requirements=["C", "W"])
    colors = torch.from_numpy(small).to(device).permute(2, 0, 1).float() / 255
    return image_kind(config.image).normalise(colors, config.image).unsqueeze(0)


def input_depth(depth: NDArray[np.float32], camera: Camera, config: ModelConfig) -> NDArray[np.float32]:
    """Depth (H, W) in metres, registered to the image, resampled to the network's input size."""
    camera.check_size(depth.shape, "depth")
    target = input_camera(camera, config)
    if target is camera:
        return depth
    # Nearest neighbour, because averaging across depth edges would invent points.
    size = (target.width, target.height)
    return np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST), np.float32)


def depth_tensor(depth: NDArray[np.float32], camera: Camera, config: ModelConfig) -> Tensor:
    """Depth (H, W) in metres, registered to the image, to points (1, 3, H', W') of the input image."""
    points = back_project(input_depth(depth, camera, config), input_camera(camera, config))
    return torch.from_numpy(points).permute(2, 0, 1).unsqueeze(0)


def point_tensor(cloud: PointCloud, config: ModelConfig) -> Tensor:
    """Input features (N, C) of a cloud: coordinates or ones, then centred colours or intensity.

    InputError if the cloud lacks what the weights need.
    """
    points = torch.from_numpy(cloud.points).float()
    parts = [points if config.has_coordinates else torch.ones(len(cloud), 1)]
    if config.point_features != "geometry":
        attribute = {"rgb": cloud.colors, "intensity": cloud.intensity}[config.point_features]
        if attribute is None:
            raise InputError(
                f"the weights need a cloud with {config.point_features}, but this one has none; "
                "give such a cloud or geometry weights"
            )
        values = torch.from_numpy(np.ascontiguousarray(attribute)).reshape(len(cloud), -1).float() / 255
        parts.append((values - 0.5) * COLOR_SCALE)
    return torch.cat(parts, dim=1)
