from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, invert
from diff2i2p_core.geometry.submaps import SubmapSettings, cut_submap
from diff2i2p_core.mapping.blocks import BLOCK, BlockCloud
from diff2i2p_core.mapping.viewpoints import looking

SETTINGS = SubmapSettings(spacing=0.1)


@pytest.fixture(scope="module")
def street() -> PointCloud:
    """30,000 points with colours around the origin, 40 m long, denser in some places."""
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (30_000, 3)) * [10, 3, 1.5]
    return PointCloud(points.astype(np.float32), rng.integers(0, 255, (30_000, 3), np.uint8))


def test_a_view_cuts_from_its_blocks_what_it_cuts_from_the_whole_cloud(
    street: PointCloud,
) -> None:
    blocks = BlockCloud.of(street)
    rng = np.random.default_rng(1)
    for _ in range(25):
        position, yaw, pitch = rng.uniform(-8, 8, 3) * [1, 0.3, 0.1], rng.uniform(-4, 4), rng.uniform(-1, 1)
        view = invert(looking(position, yaw, pitch))
        cut = blocks.cut(view, SETTINGS)
        wanted = cut_submap(street, view, SETTINGS)
        assert len(cut)
        np.testing.assert_array_equal(cut.points, wanted.points)
        np.testing.assert_array_equal(cut.colors, wanted.colors)


def test_few_blocks_are_looked_at(street: PointCloud) -> None:
    blocks = BlockCloud.of(street)
    looked_at = blocks.in_view(invert(looking(np.zeros(3), 0.0, 0.0)), SETTINGS.camera(), (0.15, 5.0), 0.1)
    seen = sum(blocks.starts[looked_at + 1] - blocks.starts[looked_at])
    assert 0 < seen < 0.4 * len(street)
    # behind the view there is nothing to look at
    assert (blocks.highs[looked_at][:, 0] > -BLOCK).all()


@pytest.mark.parametrize(("across", "is_seen"), [(1.9, False), (0.6, True)])
def test_a_wall_along_the_edge_of_the_view_is_seen_or_not(across: float, is_seen: bool) -> None:
    """What counts is the box of its points, not a sphere around them."""
    u, v = (each.ravel() for each in np.meshgrid(np.linspace(0.1, 1.9, 30), np.linspace(0.1, 1.9, 30)))
    blocks = BlockCloud.of(PointCloud(np.stack([u, np.full_like(u, across), v], axis=1).astype(np.float32)))
    assert len(blocks.keys) == 1
    view = invert(looking(np.zeros(3), 0.0, 0.0))
    assert (len(blocks.in_view(view, SETTINGS.camera(), (0.15, 5.0))) == 1) == is_seen


def test_an_empty_view(street: PointCloud) -> None:
    cut = BlockCloud.of(street).cut(compose(np.eye(3), [0, 0, 500]), SETTINGS)
    assert cut.points.shape == (0, 3) and cut.colors is not None and cut.colors.shape == (0, 3)


def test_sorted_points_are_not_copied(street: PointCloud) -> None:
    blocks = BlockCloud.of(street)
    again = BlockCloud.of(blocks.cloud)
    assert again.cloud is blocks.cloud
    np.testing.assert_array_equal(again.starts, blocks.starts)


def test_blocks_in_files_are_the_same(street: PointCloud, tmp_path: Path) -> None:
    blocks = BlockCloud.of(PointCloud(street.points, intensity=street.points[:, 0].astype(np.uint8)))
    blocks.save(tmp_path)
    opened = BlockCloud.open(tmp_path)
    assert opened.cloud.colors is None and isinstance(opened.cloud.points.base, np.memmap)
    view = invert(looking(np.zeros(3), 2.0, 0.1))
    cut, wanted = opened.cut(view, SETTINGS), blocks.cut(view, SETTINGS)
    np.testing.assert_array_equal(cut.points, wanted.points)
    np.testing.assert_array_equal(cut.intensity, wanted.intensity)
    assert cut.intensity is not None
