"""From a place to look from to local features of what is seen there."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.packed_views import RenderSettings, ViewFeatures
from diff2i2p_core.models.xfeat import XFeat, dense_features, detect
from diff2i2p_core.ops.render_view import render_view
from diff2i2p_core.typing import Array, Image


def describe_view(
    cloud: BlockCloud,
    spacing: float,
    map_from_view: Array,
    camera: Camera,
    settings: RenderSettings,
    model: XFeat,
) -> ViewFeatures:
    """Local features of the coloured cloud, drawn as `camera` (without distortion) sees it from a pose.

    `spacing` is in metres between the cloud's points. The features' points are in the view's own frame.
    """
    depths = settings.min_depth, settings.max_depth
    view_from_map = invert(map_from_view)
    in_view = cloud.seen(view_from_map, camera, depths).moved(view_from_map)
    image, depth = render_view(in_view, camera, spacing, depths)
    found = detect(dense_features(model, image), settings.keypoints)
    pixels = found.pixels.cpu().numpy()
    columns, rows = np.rint(pixels).astype(np.int64).T
    known = np.flatnonzero(depth[rows, columns] > 0)
    z = depth[rows, columns][known].astype(np.float64)
    u, v = pixels[known].T.astype(np.float64)
    points = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], axis=1)
    return ViewFeatures(points, found.descriptors[torch.from_numpy(known).to(found.descriptors.device)])


def resized(image: Image, camera: Camera) -> Image:
    """The image at the size of `camera`."""
    if image.shape[:2] == (camera.height, camera.width):
        return image
    size = (camera.width, camera.height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
