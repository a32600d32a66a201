"""Computes the local features of a view of the map."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert, transform_points
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
    """Local features of the coloured cloud, rendered for `camera` (without distortion) at a pose.

    `spacing` is the distance in metres between the cloud's points. The points of the features are in the
    map's frame.
    """
    view_from_map = invert(map_from_view)
    in_view = cloud.seen(view_from_map, camera, (settings.min_depth, settings.max_depth))
    view = render_view(
        in_view,
        view_from_map,
        camera,
        spacing,
        min_depth=settings.min_depth,
        max_depth=settings.max_depth,
    )
    keypoints = detect(dense_features(model, view.image), settings.keypoints)
    points, known = view.points_at(keypoints.pixels.cpu().numpy())
    rows = torch.from_numpy(np.flatnonzero(known)).to(keypoints.descriptors.device)
    return ViewFeatures(points[known], keypoints.descriptors[rows])


def in_view(features: ViewFeatures, map_from_view: Array) -> ViewFeatures:
    """Features with points in the map's frame, converted to the frame of a view."""
    return ViewFeatures(transform_points(invert(map_from_view), features.points), features.descriptors)


def resized(image: Image, camera: Camera) -> Image:
    """The image, resized to the size of `camera`."""
    if image.shape[:2] == (camera.height, camera.width):
        return image
    size = (camera.width, camera.height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
