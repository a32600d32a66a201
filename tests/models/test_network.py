"""The network's contract: any size, batches, padding, no ground truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.models.config import (
    FusionConfig,
    ImageConfig,
    MatchingConfig,
    ModelConfig,
    PointConfig,
    lite_config,
)
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.inputs import point_tensor
from diff2i2p_core.models.layers import ConvBlock
from diff2i2p_core.models.patches import image_patches, level_offsets, point_patches
from diff2i2p_core.models.resnet_fpn import ResNetFPN
from diff2i2p_core.ops.pyramid import PointPyramid, build_pyramid, pack_pyramids


@pytest.fixture(scope="module")
def model() -> Diff2I2P:
    torch.manual_seed(3)
    return Diff2I2P(lite_config("rgb")).eval()


def cloud(seed: int, config: ModelConfig, count: int = 1500) -> tuple[PointPyramid, torch.Tensor]:
    rng = np.random.default_rng(seed)
    points = rng.uniform([-1, -1, 1], [1, 1, 2], (count, 3)).astype(np.float32)
    colors = rng.integers(0, 255, (count, 3), dtype=np.uint8)
    pyramid = build_pyramid(points, config.points.voxel, config.points.neighbor_limits)
    return pyramid, point_tensor(PointCloud(points, colors), config)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (256, 320), (100, 130), (64, 64)])
def test_images_of_any_size(model: Diff2I2P, height: int, width: int) -> None:
    with torch.inference_mode():
        image = model.encode_image(torch.randn(1, 3, height, width))[0]
    assert image.pixels[image.fine_valid].amax(0).tolist() < [width, height]
    assert len(image.nodes) == level_offsets(image.grid)[-1] == len(image.node_valid)
    # Padding is never matched: nodes that lie outside the image whole are invalid.
    rows, columns = image.grid
    expected = [r * 16 < height and c * 16 < width for r in range(rows) for c in range(columns)]
    assert image.token_valid.tolist() == expected
    assert image.node_valid[: rows * columns].tolist() == expected


def test_without_coordinates_depth_only_chooses_nodes_and_scales_tuning() -> None:
    config = lite_config("geometry", "rgbd").model_copy(update={"coordinates": False, "tuning": True})
    assert (config.image_channels, config.point_channels, config.tuning_points) == (3, 1, 0)
    network = Diff2I2P(config)
    assert network.tuning is not None
    torch.nn.init.constant_(network.tuning.net.get_parameter("2.bias"), 0.01)
    pyramid, features = cloud(0, config)
    assert torch.equal(features, torch.ones(len(features), 1))
    depth = torch.rand(1, 3, 128, 128) + 1
    depth[..., :64] = 0  # unknown on the left
    image = network.encode_image(torch.randn(1, 3, 128, 128), depth)[0]
    tokens = image.node_valid[: image.grid[0] * image.grid[1]].reshape(image.grid)
    assert not tokens[:, :4].any() and tokens[:, 4:].all()
    rows, none = torch.arange(5), torch.empty(0, dtype=torch.long)
    matches = network.correspondences(
        image, network.encode_cloud(pyramid, features)[0], rows, rows, none, none
    )
    assert image.extent is not None
    moved = matches.points - pyramid.points[0][rows]
    torch.testing.assert_close(moved, (0.01 * image.extent).expand(5, 3), rtol=1e-3, atol=1e-6)
    matches.points.sum().backward()
    assert network.tuning.net.get_parameter("2.weight").grad is not None


def test_batched_images_equal_single_ones(model: Diff2I2P) -> None:
    images = torch.randn(2, 3, 128, 192)
    with torch.inference_mode():
        both = model.encode_image(images)
        alone = model.encode_image(images[1:])[0]
    torch.testing.assert_close(both[1].fine, alone.fine, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[1].nodes, alone.nodes, rtol=1e-4, atol=1e-5)


def test_packed_clouds_equal_single_ones(model: Diff2I2P) -> None:
    first, second = cloud(0, model.config), cloud(1, model.config, 900)
    packed = pack_pyramids([first[0], second[0]])
    with torch.inference_mode():
        both = model.encode_cloud(packed, torch.cat([first[1], second[1]]))
        alone = [model.encode_cloud(*pair)[0] for pair in (first, second)]
    for got, expected in zip(both, alone, strict=True):
        torch.testing.assert_close(got.fine, expected.fine, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(got.nodes, expected.nodes, rtol=1e-4, atol=1e-5)
        assert torch.equal(got.patches, expected.patches)


def test_forward_matches_each_pair(model: Diff2I2P) -> None:
    pairs = [cloud(seed, model.config) for seed in (0, 1)]
    with torch.inference_mode():
        found = model(
            torch.randn(2, 3, 128, 160),
            pack_pyramids([p for p, _ in pairs]),
            torch.cat([f for _, f in pairs]),
        )
    assert len(found) == 2
    for correspondences in found:
        keys = correspondences.pixel_indices * 10_000 + correspondences.point_indices
        assert torch.equal(keys, keys.unique())  # each pair once, sorted
        assert (correspondences.point_indices < 1500).all()


@pytest.mark.parametrize("mode", ["mono", "rgbd"])
def test_released_architecture_in_both_modes(mode: str) -> None:
    config = ModelConfig(mode=mode)  # type: ignore[arg-type]
    network = Diff2I2P(config).eval()
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.5, -0.5, 1], [0.5, 0.5, 1.4], (800, 3)).astype(np.float32)
    pyramid = build_pyramid(points, config.points.voxel, config.points.neighbor_limits)
    depth = torch.rand(1, 3, 80, 160) if mode == "rgbd" else None
    features = point_tensor(PointCloud(points), config)
    with torch.inference_mode():
        (found,) = network(torch.randn(1, 1, 80, 160), pyramid, features, depth)
    assert found.offsets is not None and found.offsets.shape == (len(found), 3)


@pytest.mark.parametrize("mode", ["mono", "rgbd"])
def test_encoding_to_match_finds_the_same_with_a_quarter_of_the_pixels(mode: str) -> None:
    config = ModelConfig(
        mode=mode,  # type: ignore[arg-type]
        image=ImageConfig(channels=(16, 16, 32), blocks=(1, 1, 1)),
        points=PointConfig(width=8, blocks=1),
        fusion=FusionConfig(dim=32, heads=2, layers=2),
        matching=MatchingConfig(fine_similarity=0.5),
    )
    torch.manual_seed(0)
    network = Diff2I2P(config).eval()
    for branch in ("image_backbone", "point_backbone"):
        torch.nn.init.constant_(network.get_parameter(f"{branch}.project.bias"), 0.3)
    torch.nn.init.normal_(network.get_parameter("tuning.net.2.weight"), std=0.1)
    images, depth = torch.randn(1, 1, 90, 150), torch.rand(1, 3, 90, 150)
    points = None if mode == "mono" else depth
    with torch.inference_mode():
        (submap,) = network.encode_cloud(*cloud(0, config))
        (every,) = network.encode_image(images, points)
        (fewer,) = network.encode_image(images, points, to_match=True)
        expected, found = network.match(every, submap), network.match(fewer, submap)
    assert len(every.fine) == 160 * 160 and len(fewer.fine) == 80 * 80
    assert torch.equal(every.node_valid, fewer.node_valid)
    assert len(found) > 10
    assert torch.equal(found.pixels, expected.pixels)
    torch.testing.assert_close(found.points, expected.points)
    torch.testing.assert_close(found.scores, expected.scores)


def test_rgbd_model_asks_for_depth() -> None:
    network = Diff2I2P(lite_config("rgb", mode="rgbd"))
    with pytest.raises(ValueError, match="depth"):
        network.encode_image(torch.zeros(1, 3, 64, 64))


def test_image_patches_tile_the_image() -> None:
    for step in (1, 2):
        for level, patches in enumerate(image_patches((4, 8), (16, 32), step)):
            expected = torch.arange(16 * 32).view(16, 32)[::step, ::step].flatten()
            assert torch.equal(patches.flatten().sort().values, expected)
            rows, columns = patches // 32, patches % 32
            assert int((rows.amax(1) - rows.amin(1)).max()) < 4 * 2**level
            assert int((columns.amax(1) - columns.amin(1)).max()) < 4 * 2**level


def test_point_patches_hold_each_superpoints_own_nearest() -> None:
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(1))
    superpoints = points[:10] + 0.01
    patches, valid = point_patches(points, superpoints, limit=12, min_points=15)
    distances = torch.cdist(points, superpoints)
    owner = distances.argmin(1)
    for s in range(10):
        own = (owner == s).nonzero().flatten()
        nearest = own[distances[own, s].argsort()][:12]
        assert patches[s][patches[s] < 200].tolist() == nearest.tolist()
        assert bool(valid[s]) == (len(own) >= 15)


@pytest.mark.parametrize("fine_stride", [1, 2])
def test_image_branch_is_the_same_on_the_way_of_inference(fine_stride: int) -> None:
    """Winograd's convolutions and the group norm in place, against the layers that training uses."""
    config = ImageConfig(channels=(64, 64, 128), blocks=(1, 1, 2), fine_stride=fine_stride)
    torch.manual_seed(0)
    branch = ResNetFPN(config, 1, 64).eval()
    image = torch.randn(2, 1, 80, 160)
    expected = branch(image)
    with torch.inference_mode():
        found = branch(image)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 1e-5 * b.abs().max()
    assert found[1].is_contiguous(memory_format=torch.channels_last)  # it was another way


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_dilation_widens_what_a_pixel_sees(dilation: int) -> None:
    """The maps' sizes stay, and the way of inference gives the same."""
    config = ImageConfig(channels=(64, 64), blocks=(1, 1), dilation=dilation, fine_stride=4, node_stride=8)
    torch.manual_seed(0)
    branch = ResNetFPN(config, 1, 64)
    image = torch.randn(1, 1, 128, 160)
    expected = branch(image)
    with torch.inference_mode():
        found = branch(image)
    assert [one.shape[-2:] for one in expected] == [(32, 40), (16, 20)]
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 1e-5 * b.abs().max()

    for block in branch.modules():
        if isinstance(block, ConvBlock):
            block.norm = nn.Identity()  # type: ignore[assignment]  # a group norm sees the whole image
    pixel = torch.zeros_like(image).index_fill(2, torch.tensor([64]), 1)
    stages = nn.Sequential(branch.stem, *branch.stages)
    rows = (stages(image + pixel) - stages(image)).abs().sum((0, 1, 3)).nonzero()
    # Rows 31 to 33 of the stem, then two convolutions at its stride, a strided one and another
    assert int(rows.max() - rows.min()) + 1 == {1: 7, 2: 11, 3: 17}[dilation]
