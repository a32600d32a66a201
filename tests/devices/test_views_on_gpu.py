"""What a localized image does on a GPU, on a pretended one: where its tensors are, and how few are copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pretended_gpu import PretendedGpu, on_gpu, pretended_gpu

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.localization.near_matches import match_near
from diff2i2p_core.localization.settings import ViewSettings
from diff2i2p_core.localization.view_ranking import ranked_views
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.describe import GRID, describe_grid
from diff2i2p_core.mapping.packed_views import PackedViews, RenderSettings
from diff2i2p_core.models import xfeat
from diff2i2p_core.models.geometry_features import GeometryFeatures
from diff2i2p_core.models.view_networks import PictureNetworks, ShapeNetworks
from diff2i2p_core.models.xfeat import XFeat, dense_features, detect
from diff2i2p_core.ops.render_there import DeviceView
from diff2i2p_core.ops.render_view import RenderedView

CAMERA = Camera(150, 90, 120, 120, 74.5, 44.5)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is moved between main memory and the pretended GPU."""
    sizes: list[int] = []
    move = PretendedGpu._moved

    def watched(func: Any, args: Any, kwargs: Any) -> Any:
        moved = move(func, args, kwargs)
        if on_gpu(moved) != on_gpu(args[0]):
            sizes.append(moved.numel())
        return moved

    monkeypatch.setattr(PretendedGpu, "_moved", staticmethod(watched))
    return sizes


def a_render(grey: bool) -> RenderedView:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (15, 25, 3), np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    depth = rng.uniform(1, 3, (90, 150)).astype(np.float32)
    return RenderedView(image[..., 0] if grey else image, depth, CAMERA, np.eye(4))


def on_pretended_gpu(view: RenderedView) -> DeviceView:
    image, depth = (torch.from_numpy(np.array(each)).to("cuda") for each in (view.image, view.depth))
    return DeviceView(image, depth, view.camera, view.camera_from_cloud)


@pytest.mark.parametrize("grey", [True, False])
def test_xfeat_describes_a_render_where_it_is(
    monkeypatch: pytest.MonkeyPatch, copies: list[int], grey: bool
) -> None:
    """With the features of the same render on the CPU; the padding repeats the borders, too."""
    torch.manual_seed(0)
    model = XFeat().for_inference()
    expected = dense_features(model, a_render(grey).image)
    with pretended_gpu(monkeypatch):
        network = PictureNetworks(model, "cuda").network
        there = on_pretended_gpu(a_render(grey))
        copies.clear()
        dense = dense_features(network, there.image)
        detect(dense, min_heat=0)
    assert not copies and on_gpu(dense.descriptors)
    for name in ("descriptors", "heatmap", "reliability"):
        torch.testing.assert_close(getattr(dense, name), getattr(expected, name), atol=2e-5, rtol=0)


def test_shapes_of_a_render_on_the_gpu_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xfeat, "computes_bfloat16", lambda: False)
    torch.manual_seed(0)
    expected = ShapeNetworks(GeometryFeatures()).describe_render(a_render(True), 50)
    with pretended_gpu(monkeypatch):
        torch.manual_seed(0)
        networks = ShapeNetworks(GeometryFeatures(), "cuda")
        found = networks.describe_render(on_pretended_gpu(a_render(True)), 50)
        assert on_gpu(found.descriptors)
    torch.testing.assert_close(found.descriptors, expected.descriptors)


@pytest.mark.parametrize("count", [60, 90])
def test_ranking_copies_a_few_times_for_any_number_of_views(
    monkeypatch: pytest.MonkeyPatch, copies: list[int], count: int
) -> None:
    descriptors = torch.nn.functional.normalize(torch.randn(count * 20, 64), dim=1)
    poses, points = np.tile(np.eye(4), (count, 1, 1)), torch.zeros(len(descriptors), 3).half()
    views = PackedViews.of(RenderSettings(), poses, [20] * count, points, descriptors.half())
    expected = ranked_views(views, descriptors[100:160], ViewSettings())
    with pretended_gpu(monkeypatch):
        there = PackedViews(
            views.settings, poses, views.counts, points, views.descriptors,
            views.words.to("cuda"), views.signatures.to("cuda"),
        )  # fmt: skip
        image = descriptors[100:160].to("cuda")
        copies.clear()
        found = ranked_views(there, image, ViewSettings())
    assert found == expected and found[0] in (5, 6, 7)
    assert len(copies) == 3  # features to glance at, which are alike, features to compare


def test_a_grid_near_a_prior_is_matched_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keypoints of an image are there, too, and their pixels are compared with the grid's."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-3, -2, 4], [3, 2, 4.2], (60_000, 3)).astype(np.float32)
    intensity = (100 + 90 * np.sin(5 * points[:, 0])).astype(np.uint8)
    cloud = BlockCloud.of(PointCloud(points, intensity=intensity))
    image = rng.integers(0, 256, (90, 150), np.uint8)
    torch.manual_seed(0)
    model = XFeat().for_inference()
    settings = RenderSettings(look="intensity")

    def matched(network: XFeat) -> Any:
        grid = describe_grid(cloud, 0.02, np.eye(4), CAMERA, settings, network)
        return match_near(detect(dense_features(network, image), 200, min_heat=0), grid, 30.0)

    expected = matched(model)
    with pretended_gpu(monkeypatch):
        found = matched(PictureNetworks(model, "cuda").network)
    assert len(found.pixels) > 10 and len(found.points) < (90 // GRID + 1) * (150 // GRID + 1)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    np.testing.assert_allclose(found.points, expected.points)
