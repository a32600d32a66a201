"""Rendered views in a map: packed, in files, joined."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import exp, transform_points
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.join import join_maps
from diff2i2p_core.mapping.map_file import MapInfo, PointMap, load_map, save_map
from diff2i2p_core.mapping.packed_views import PackedViews, RenderSettings
from diff2i2p_core.mapping.view_map import ViewMap

POSES = np.array([exp([0, 0, 0.3 * i, i, 2.0, 1.0]) for i in range(3)])


def packed(counts: list[int], seed: int = 0) -> PackedViews:
    generator = torch.Generator().manual_seed(seed)
    points = 4 * torch.rand(sum(counts), 3, generator=generator)
    descriptors = F.normalize(torch.randn(sum(counts), 64, generator=generator), dim=1)
    return PackedViews.of(RenderSettings(), POSES[: len(counts)], counts, points.half(), descriptors.half())


@pytest.fixture
def point_map(room_cloud: PointCloud) -> PointMap:
    info = MapInfo("room", "none", "0" * 64, "mono", "rgb", SubmapSettings(), spacing=0.03)
    fine = BlockCloud.of(room_cloud)
    return PointMap(
        info, room_cloud, np.empty((0, 4, 4)), [], ViewMap(packed([5, 0, 7]), fine, fine.spacing())
    )


def test_a_view_is_given_in_the_map_frame() -> None:
    views = packed([5, 0, 7])
    assert len(views) == 3 and [len(views[i]) for i in range(3)] == [5, 0, 7]
    expected = transform_points(POSES[2], views.points[5:].double().numpy())
    np.testing.assert_allclose(views[2].points, expected, atol=1e-6)
    torch.testing.assert_close(views[2].descriptors, views.descriptors[5:])
    torch.testing.assert_close(views.descriptors_of(2, 3), views.descriptors[5:8])


def test_the_view_that_an_image_shows_comes_first() -> None:
    views = packed([40, 40, 40])
    for view in range(3):
        noise = 0.05 * torch.randn(40, 64, generator=torch.Generator().manual_seed(view))
        seen = F.normalize(views[view].descriptors + noise, dim=1)
        assert views.ranked(seen, 1) == [view]


def test_what_is_saved_is_loaded(point_map: PointMap, tmp_path: Path) -> None:
    save_map(point_map, tmp_path / "room.map")
    loaded = load_map(tmp_path / "room.map")
    assert loaded.kinds == point_map.kinds == ["views", "depth"] and loaded.sizes == "3 views"
    assert loaded.rendered is not None and point_map.rendered is not None
    for name in ("points", "descriptors", "words", "signatures"):
        assert torch.equal(getattr(loaded.rendered.views, name), getattr(point_map.rendered.views, name))
    assert loaded.rendered.views.settings == point_map.rendered.views.settings
    assert loaded.rendered.spacing == point_map.rendered.spacing
    np.testing.assert_array_equal(loaded.rendered.cloud.cloud.points, point_map.rendered.cloud.cloud.points)
    np.testing.assert_array_equal(loaded.rendered.cloud.starts, point_map.rendered.cloud.starts)
    np.testing.assert_array_equal(loaded.viewpoints, POSES)
    with safe_open(tmp_path / "room.map", "pt") as file:
        assert json.loads(file.metadata()["rendered"])["views"]["keypoints"] == RenderSettings().keypoints


def test_damaged_views_are_refused(point_map: PointMap, tmp_path: Path) -> None:
    rendered = point_map.rendered
    assert rendered is not None
    with pytest.raises(InputError, match="are inconsistent"):
        replace(rendered.views, counts=[5, 0, 6])
    save_map(point_map, tmp_path / "room.map")
    content = (tmp_path / "room.map").read_bytes()
    (tmp_path / "room.map").write_bytes(content.replace(b"views.words", b"views.werds"))
    with pytest.raises(InputError, match=r"room\.map: damaged"):
        load_map(tmp_path / "room.map")


def test_joined_maps_have_the_views_of_all(point_map: PointMap) -> None:
    assert point_map.rendered is not None
    other = replace(point_map, rendered=replace(point_map.rendered, views=packed([3, 4], seed=1)))
    joined = join_maps({"a.map": point_map, "b.map": other}, apart=5.0).rendered
    assert joined is not None and joined.views.counts == [5, 0, 7, 3, 4]
    shift = point_map.cloud.points[:, 0].max() + 5.0 - other.cloud.points[:, 0].min()
    assert other.rendered is not None
    moved = other.rendered.views[0].points + np.array([shift, 0, 0])
    np.testing.assert_allclose(joined.views[3].points, moved, atol=1e-4)
    assert len(joined.cloud.cloud) == 2 * len(point_map.cloud)
    coarse = replace(other.rendered, views=replace(other.rendered.views, settings=RenderSettings(focal=210)))
    for pair in ((point_map, replace(other, rendered=coarse)), (replace(other, rendered=coarse), point_map)):
        mixed = join_maps(dict(zip(("a.map", "b.map"), pair, strict=True)), apart=5.0).rendered
        assert mixed is not None and mixed.views.settings.focal == 420, "that of the map with more views"
    without = replace(other, rendered=None)
    assert join_maps({"a.map": point_map, "b.map": without}).rendered is None


def test_coarse_clouds_are_drawn_smaller() -> None:
    fine, coarse = RenderSettings.for_cloud(0.01), RenderSettings.for_cloud(0.06)
    assert fine == RenderSettings() and coarse.focal == pytest.approx(13 / 0.06)
    assert coarse.width / coarse.focal == pytest.approx(fine.width / fine.focal, rel=0.01)


def test_maps_of_the_open_are_rendered_farther() -> None:
    for spacing in (0.01, 0.025, 0.05):
        for look in ("colors", "intensity"):
            assert RenderSettings.for_cloud(spacing, look=look).max_depth == RenderSettings().max_depth
    assert RenderSettings.for_cloud(0.1).max_depth == pytest.approx(32)
    scan = RenderSettings.for_cloud(0.4, look="intensity")
    assert scan.max_depth == 80 and scan.focal == 640 and scan.look == "intensity"


def test_spacing_is_that_of_the_surfaces() -> None:
    grid = np.stack(np.meshgrid(np.arange(0, 6, 0.02), np.arange(0, 6, 0.02), [1.0]), -1).reshape(-1, 3)
    blocks = BlockCloud.of(PointCloud(grid))
    assert blocks.spacing() == blocks.spacing_and_noise()[0] == pytest.approx(0.02, rel=0.05)


def test_noisy_clouds_are_drawn_smaller() -> None:
    rng = np.random.default_rng(0)
    wall = np.stack(np.meshgrid(np.arange(0, 4, 0.02), np.arange(0, 4, 0.02), [1.0]), -1).reshape(-1, 3)
    for noise in (0.015, 0.02):
        moved = wall + rng.normal(0, [0, 0, noise], wall.shape)
        noisy = BlockCloud.of(PointCloud(moved.astype(np.float32)))
        _, measured = noisy.spacing_and_noise()
        assert measured == pytest.approx(noise, rel=0.25)
        assert RenderSettings.for_cloud(0.02, measured).focal == pytest.approx(13 / (3 * measured))
    assert BlockCloud.of(PointCloud(wall.astype(np.float32))).spacing_and_noise()[1] < 1e-4
