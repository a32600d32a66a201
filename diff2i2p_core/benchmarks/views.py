"""Benchmarks of localization by rendered views: a view, an image's features, the pose from matches."""

from __future__ import annotations

import importlib.util
from functools import partial

import cv2
import numpy as np

from diff2i2p_core.benchmarks.measure import Case
from diff2i2p_core.benchmarks.network import Work, pose
from diff2i2p_core.benchmarks.pairs import CAMERA, wall_cloud, wall_colors, wall_picture
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.models.xfeat import XFeat, dense_features, detect
from diff2i2p_core.ops.render_view import render_view

POINTS, SPACING = 60_000, 0.02
"""Number of points in the cloud: about what a camera sees of a room."""
SIZES = (320, 240), (480, 360), (640, 480)


def cases() -> list[Case]:
    solvers = [name for name in ("poselib", "opencv") if name != "poselib" or importlib.util.find_spec(name)]
    return [
        *(Case(f"view of {POINTS // 1000}k points, {w}x{h}", partial(_view, w, h)) for w, h in SIZES),
        *(Case(f"XFeat, {w}x{h}", partial(_features, w, h)) for w, h in SIZES),
        *(Case(f"PnP by {name}", partial(pose, solver=name)) for name in solvers),
    ]


def _view(width: int, height: int, device: str) -> Work:
    """Renders a view, always on the CPU."""
    del device
    points = wall_cloud(POINTS, SPACING)
    cloud = PointCloud(points, wall_colors(points))
    camera = CAMERA.scaled_to(width, height)
    return lambda: render_view(cloud, np.eye(4), camera, SPACING)


def _features(width: int, height: int, device: str) -> Work:
    """Features of an untrained network, with the maximum number of keypoints."""
    model = XFeat().for_inference().to(device)
    image = np.asarray(cv2.resize(wall_picture()[0], (width, height)), np.uint8)
    return lambda: detect(dense_features(model, image), min_heat=0)
