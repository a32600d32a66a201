"""Points of a depth image: less noise than its pixels, and the surface near them."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.localization.depth_view import DepthView
from diff2i2p_core.mapping.surface import FAR, Surface

CAMERA = Camera(640, 480, 525, 525, 319.5, 239.5)


def test_neighbouring_pixels_are_averaged() -> None:
    """A plane at 2 m with noise of 2 cm in each pixel."""
    rng = np.random.default_rng(0)
    v, u = np.indices((480, 640))
    normal = np.array([0.3, -0.2, -1.0]) / np.linalg.norm([0.3, -0.2, -1.0])
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=2)
    depth = -2.0 / (rays @ normal) + rng.normal(0, 0.02, u.shape)
    view = DepthView.of(depth.astype(np.float32), CAMERA)
    assert view is not None
    assert np.abs(view.points @ normal + 2.0).mean() < 0.006
    assert abs((view.points @ normal + 2.0).mean()) < 0.001  # of the inverse depth, so planes stay planes
    assert np.median(np.degrees(np.arccos(np.clip(view.normals @ normal, -1, 1)))) < 8


@pytest.mark.parametrize("metres", [0.05, 0.15, 0.3])
def test_no_point_near_the_surface_is_left_out(metres: float) -> None:
    rng = np.random.default_rng(0)
    surface = Surface(PointCloud(rng.uniform(0, 2, (300, 3)).astype(np.float32)), 0.03, np.eye(4)[None])
    points = rng.uniform(-1, 3, (4000, 3))
    distances = surface.fine.nearest(points)[1]
    near = surface.is_near(points, metres)
    assert near[distances <= metres].all()
    assert not near[distances > 2 * FAR].any()
