"""Benchmarks of localization by rendered views: render, describe, retrieve, match, pose, verify.

The map of the retrieval is synthetic: random signatures and descriptors, because their values do not affect
the time.
"""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.benchmarks.measure import Case
from diff2i2p_core.benchmarks.network import Work, pose
from diff2i2p_core.benchmarks.pairs import CAMERA, wall_cloud, wall_colors, wall_depth, wall_picture
from diff2i2p_core.geometry.pnp import solve_pnp
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.localization.verify import verify
from diff2i2p_core.localization.view_ranking import ranked_views
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.describe import describe_view
from diff2i2p_core.mapping.device_blocks import placed
from diff2i2p_core.mapping.looks import LOOKS
from diff2i2p_core.mapping.packed_views import PackedViews, RenderSettings
from diff2i2p_core.models.view_networks import PictureNetworks
from diff2i2p_core.models.xfeat import DIMENSION, XFeat, dense_features, detect, rounded
from diff2i2p_core.ops.device_cloud import DeviceCloud
from diff2i2p_core.ops.mutual import mutual_nearest
from diff2i2p_core.ops.render_there import render_view_there
from diff2i2p_core.ops.render_view import render_view
from diff2i2p_core.ops.vlad import WORDS

POINTS, SPACING = 60_000, 0.02
"""Number of points in the cloud: about what a camera sees of a room."""
SIZES = (320, 240), (480, 360), (640, 480)
VIEWS = 10, 100, 1000, 10_000, 100_000
"""Sizes of maps. The last is a city block; see docs/scaling.md."""
INLIERS = 500


def cases() -> list[Case]:
    solvers = [name for name in ("poselib", "opencv") if name != "poselib" or importlib.util.find_spec(name)]
    return [
        *(Case(f"view of {POINTS // 1000}k points, {w}x{h}", partial(view_work, w, h)) for w, h in SIZES),
        *(Case(f"XFeat, {w}x{h}", partial(_features, w, h)) for w, h in SIZES),
        Case("describe a stored view", description_work),
        *(
            Case(f"retrieve among {views:,} views", partial(_retrieval, views), apart=True, most_runs=10)
            for views in VIEWS
        ),
        Case("match with a view", _match),
        *(Case(f"PnP by {name}", partial(pose, solver=name)) for name in solvers),
        Case(f"verify a pose with {INLIERS} inliers", _verification),
    ]


def view_work(width: int, height: int, device: str) -> Work:
    """Renders a view of a cloud that is on the device."""
    points = wall_cloud(POINTS, SPACING)
    cloud, camera = PointCloud(points, wall_colors(points)), CAMERA.scaled_to(width, height)
    if device == "cpu":
        return lambda: render_view(cloud, np.eye(4), camera, SPACING)
    there = DeviceCloud.of(cloud, torch.device(device))
    return lambda: render_view_there(there, np.eye(4), camera, SPACING)


def _features(width: int, height: int, device: str) -> Work:
    """Features of an untrained network, with the maximum number of keypoints."""
    model = rounded(XFeat().for_inference().to(device))
    image = np.asarray(cv2.resize(wall_picture()[0], (width, height)), np.uint8)
    return lambda: detect(dense_features(model, image), min_heat=0)


def description_work(device: str) -> Work:
    """A view of the map: rendered, described, with the points of its features."""
    points, settings = wall_cloud(POINTS, SPACING), RenderSettings.for_cloud(SPACING)
    cloud = BlockCloud.of(PointCloud(points, wall_colors(points)))
    torch.manual_seed(0)
    model = XFeat().for_inference()
    last = cast(nn.Conv2d, model.keypoint_head[-1])
    last.weight.mul_(100)  # an untrained network is too unsure to find keypoints
    networks = PictureNetworks(model, device)
    there = placed(cloud, LOOKS[settings.look], networks.device)
    return lambda: describe_view(there, SPACING, np.eye(4), settings.camera(), settings, networks)


def _retrieval(num_views: int, device: str) -> Work:
    """The order of a map's views for an image: by signatures, then by matches of the strongest features."""
    views, settings = _views(num_views, device), LocalizerSettings().views
    descriptors = _unit(views.settings.keypoints).to(device)
    return torch.inference_mode()(lambda: ranked_views(views, descriptors, settings))


def _views(count: int, device: str) -> PackedViews:
    """Views with as many features as retrieval reads. Their descriptors, of about unit length, overlap in
    memory."""
    rows = count * LocalizerSettings().views.compared_features
    values = torch.randn(rows + DIMENSION, generator=torch.Generator().manual_seed(0)).half() / DIMENSION**0.5
    signatures = torch.randn(min(1000, count), WORDS * DIMENSION).half().repeat(-(-count // 1000), 1)
    return PackedViews(
        RenderSettings(),
        np.broadcast_to(np.eye(4), (count, 4, 4)),
        [rows // count] * count,
        torch.zeros(1, 3).half().expand(rows, 3),
        values.as_strided((rows, DIMENSION), (1, 1)),
        _unit(WORDS),
        signatures[:count].to(device),
    )


def _unit(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(count, DIMENSION, generator=generator), dim=1)


def _match(device: str) -> Work:
    """All features of an image with all of a view."""
    settings = LocalizerSettings().views
    count = RenderSettings().keypoints
    image, view = _unit(count).to(device), _unit(count)[torch.randperm(count)].to(device)
    return lambda: mutual_nearest(image, view, settings.min_likeness)


def _verification(device: str) -> Work:
    """The gates, rivals and covariance of an answer. Always on the CPU."""
    del device
    pixels = np.random.default_rng(0).uniform((0, 0), (CAMERA.width, CAMERA.height), (INLIERS, 2))
    rays = np.column_stack([(pixels - (CAMERA.cx, CAMERA.cy)) / (CAMERA.fx, CAMERA.fy), np.ones(INLIERS)])
    points = rays * wall_depth(*pixels.T)[:, None]
    estimate = solve_pnp(pixels, points, CAMERA)
    hypothesis = Hypothesis("views", "view 0", pixels, points, estimate, settled=True)
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    query = Query.of(image, CAMERA, LocalizerSettings())
    return lambda: verify(query, [hypothesis])
