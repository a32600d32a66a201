"""Registration of an image in one small cloud, as in the papers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.typing import Array, Image


def register(
    cloud: PointCloud,
    image: Image,
    camera: Camera,
    *,
    depth: NDArray[np.float32] | None = None,
    prior: Array | None = None,
    weights: str | Path | None = None,
    device: str = "cpu",
    name: str = "the cloud",
    settings: LocalizerSettings | None = None,
) -> Localization:
    """The pose of the camera that took `image` (H, W, 3) RGB in one small cloud, as in the papers.

    The "map" of the answer is the cloud's frame. `depth` (H, W) is for weights of the mode `rgbd`. With
    `prior`, an approximate map_from_camera, the cloud can be a lidar scan of any size, with colours or
    intensity: it is rendered from there. `name` is the cloud's name in error messages.
    """
    if prior is not None:
        localizer = Localizer.around(cloud, prior, device=device, name=name, settings=settings)
        return localizer.localize(image, camera, prior=prior, depth=depth)
    localizer = Localizer.for_single_cloud(cloud, weights, device=device, name=name, settings=settings)
    return localizer.localize(image, camera, depth=depth)
