"""Renders of lidar scans: lines are closed, steps in depth are not."""

from __future__ import annotations

import numpy as np

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.ops.render_scan import render_scan
from diff2i2p_core.ops.render_view import render_view
from diff2i2p_core.typing import Array

CAMERA = Camera(320, 200, 280, 280, 159.5, 99.5)


def scan(depth_of: Array, shade_of: Array) -> PointCloud:
    """Lines 10 pixels apart with points 2 pixels apart; depths and shades (20, 160) of their points."""
    v, u = np.mgrid[5:200:10, 0:320:2].astype(float)
    points = (
        np.stack([(u - CAMERA.cx) / 280, (v - CAMERA.cy) / 280, np.ones_like(u)], -1) * depth_of[..., None]
    )
    return PointCloud(
        points.reshape(-1, 3).astype(np.float32), intensity=shade_of.reshape(-1).astype(np.uint8)
    )


def test_lines_are_closed_and_shades_are_interpolated() -> None:
    columns = np.arange(0, 320, 2)
    shades = np.tile(np.where(columns // 40 % 2, 200, 40), (20, 1))
    view = render_scan(
        scan(np.full((20, 160), 12.0), shades), np.eye(4), CAMERA, 0.3, min_depth=1, max_depth=80
    )
    between = view.depth[6:194]
    assert (between[:, 2:316] > 0).all(), "no gaps between lines"
    np.testing.assert_allclose(between[:, 2:316], 12, rtol=1e-3)
    wanted = np.where(np.arange(320) // 40 % 2, 200, 40)
    inside = (np.arange(320) % 40 > 4) & (np.arange(320) % 40 < 34) & (np.arange(320) < 310)
    np.testing.assert_allclose(view.image[20:180][:, inside], np.tile(wanted[inside], (160, 1)), atol=3)
    assert view.image.ndim == 2


def test_triangles_do_not_join_surfaces_at_different_depths() -> None:
    depth = np.full((20, 160), 10.0)
    depth[:, 80:] = 40.0
    view = render_scan(scan(depth, np.full((20, 160), 90)), np.eye(4), CAMERA, 0.3, min_depth=1, max_depth=80)
    known = view.depth[view.depth > 0]
    assert ((np.abs(known - 10) < 0.1) | (np.abs(known - 40) < 0.4)).all()
    assert not (
        render_scan(scan(depth, depth), np.eye(4), CAMERA, 0.3, min_depth=1, max_depth=20).depth > 20
    ).any()


def test_dense_clouds_are_rendered_as_before() -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-3, 3, 60_000), rng.uniform(-2, 2, 60_000), np.full(60_000, 4.0)])
    cloud = PointCloud(points.astype(np.float32), intensity=rng.integers(0, 255, 60_000).astype(np.uint8))
    scanned = render_scan(cloud, np.eye(4), CAMERA, 0.02, min_depth=0.15, max_depth=8)
    plain = render_view(cloud, np.eye(4), CAMERA, 0.02, min_depth=0.15, max_depth=8)
    np.testing.assert_array_equal(scanned.image, plain.image)
    np.testing.assert_array_equal(scanned.depth, plain.depth)


def test_a_view_without_points_is_empty() -> None:
    cloud = scan(np.full((20, 160), 12.0), np.full((20, 160), 90))
    behind = np.diag([-1.0, 1, -1, 1])
    assert not render_scan(cloud, behind, CAMERA, 0.3, min_depth=1, max_depth=80).depth.any()
