"""The kernels of a view against NumPy's and OpenCV's view of the cloud: equal pixels, means and filling."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.describe import describe_view
from diff2i2p_core.mapping.device_blocks import DeviceBlocks
from diff2i2p_core.mapping.packed_views import RenderSettings
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.view_networks import PictureNetworks
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.ops.device_cloud import DeviceCloud
from diff2i2p_core.ops.render_there import DeviceView, render_shape_there, render_view_there
from diff2i2p_core.ops.render_view import RenderedView, filled_view, render_shape, render_view

CAMERA = Camera(53, 37, 45, 46, 25.3, 18.6)
SPACING = 0.035
POSES = [invert(looking(np.array([x, 1.5, 1.2]), yaw, 0.1)) for x, yaw in ((1.0, -2.0), (2.2, 1.2))]


@pytest.fixture(autouse=True)
def few_large_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes milliseconds for each line of each block, however large."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        points = pytest.importorskip("diff2i2p_core.ops.kernels.view_points")
        image = pytest.importorskip("diff2i2p_core.ops.kernels.view_image")
        monkeypatch.setattr(points, "BLOCK", 16384)
        monkeypatch.setattr(image, "ROWS", 32)
        monkeypatch.setattr(image, "COLUMNS", 128)


def of_device(view: RenderedView | DeviceView, device: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    assert isinstance(view, DeviceView), "not made by the kernels"
    assert view.image.device.type == view.depth.device.type == device
    return view.image.cpu().numpy(), view.depth.cpu().numpy()


@pytest.mark.parametrize(
    ("pose", "kind"), [(POSES[0], "colors"), (POSES[1], "intensity"), (POSES[0], "shape")]
)
def test_a_view_is_that_of_the_cpu(
    kernel_device: str, room_cloud: PointCloud, pose: NDArray[np.float64], kind: str
) -> None:
    """But for points that rounding puts into another pixel or behind the limit: one in 20,000 pixels' widths.
    Elsewhere, shades are equal, and depths to 3e-7: sums of inverse depth are rounded in another order."""
    cloud = room_cloud
    if kind == "intensity":
        assert room_cloud.colors is not None
        cloud = PointCloud(room_cloud.points, intensity=room_cloud.colors[:, 0])
    here, there = (render_shape, render_shape_there) if kind == "shape" else (render_view, render_view_there)
    expected = here(cloud, pose, CAMERA, SPACING)
    image, depth = of_device(
        there(DeviceCloud.of(cloud, torch.device(kernel_device)), pose, CAMERA, SPACING), kernel_device
    )
    assert (expected.depth > 0).mean() > 0.9
    assert image.dtype == np.uint8 and image.shape == expected.image.shape
    assert ((depth > 0) == (expected.depth > 0)).mean() > 0.998
    assert np.isclose(depth, expected.depth, rtol=3e-7, atol=0).mean() > 0.995
    assert (image == expected.image).mean() > 0.995


@pytest.mark.parametrize("depth", [0.15, 0.6, 4.0])
def test_near_surfaces_hide_what_is_behind_them(kernel_device: str, depth: float) -> None:
    """Points are scattered, so gaps between them have to be closed; a footprint is about a cell wide."""
    rng = np.random.default_rng(0)
    half = 0.6 * depth * np.array([CAMERA.width / CAMERA.fx, CAMERA.height / CAMERA.fy])
    sides = rng.uniform(-1, 1, (6000, 2)) * half
    walls = [np.column_stack([sides, np.full(len(sides), z)]) for z in (depth, 1.5 * depth)]
    colors = np.repeat(np.array([[200, 10, 10], [10, 10, 200]], np.uint8), len(sides), axis=0)
    cloud, spacing = PointCloud(np.concatenate(walls).astype(np.float32), colors), 0.03 * float(half[0])
    device_cloud = DeviceCloud.of(cloud, torch.device(kernel_device))
    image, found = of_device(render_view_there(device_cloud, np.eye(4), CAMERA, spacing), kernel_device)
    expected = render_view(cloud, np.eye(4), CAMERA, spacing)
    assert (image[found > 0] == (200, 10, 10)).all() and (found > 0).mean() > 0.2
    np.testing.assert_array_equal(image, expected.image)
    np.testing.assert_allclose(found, expected.depth, rtol=3e-7)


@pytest.mark.parametrize(
    ("width", "height", "known", "tile"),
    [(61, 45, 0.15, None), (40, 9, 0.01, None), (9, 50, 0.05, None), (13, 11, 0.1, (2, 4))],
)
@pytest.mark.parametrize("channels", [(3,), ()])
def test_empty_pixels_are_filled_as_by_opencv(
    kernel_device: str,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    height: int,
    known: float,
    tile: tuple[int, int] | None,
    channels: tuple[int, ...],
) -> None:
    """Exactly, but where several pixels are equally near and OpenCV takes another one: at most 1 % of all.
    Small tiles stop searching when their own pixels have found the nearest."""
    from diff2i2p_core.ops.kernels import view_image

    if tile is not None:
        monkeypatch.setattr(view_image, "ROWS", tile[0])
        monkeypatch.setattr(view_image, "COLUMNS", tile[1])
    rng = np.random.default_rng(0)
    filled = np.flatnonzero(rng.random(width * height) < known)
    filled = filled[filled % width < width * 0.8]  # some rows have nothing on the right
    count = rng.integers(1, 4, len(filled)).astype(np.float32)
    depth = np.linspace(1, 9, len(filled))
    values = int(np.prod(channels))
    shades = rng.integers(0, 256, (len(filled), values)) + rng.integers(0, 2, (len(filled), values)) / 2
    sums = np.zeros((height * width, values + 2), np.float32)
    sums[filled] = np.column_stack([count / depth, shades * count[:, None], count])
    means = sums[filled, :-1] / sums[filled, -1:]
    camera = Camera(width, height, 60, 60, width / 2, height / 2)
    expected = filled_view(filled, means, channels, camera, np.eye(4), 0.1)
    there = torch.from_numpy(sums).reshape(height, width, -1).to(kernel_device)
    image, found = view_image.image_and_depth(there, 1.6 * 0.1 * 60, width // 16 | 1)
    np.testing.assert_array_equal(found.cpu().numpy() > 0, expected.depth > 0)
    assert (expected.depth > 0).mean() > 0.1
    assert (found.cpu().numpy() == expected.depth).mean() > 0.99
    assert (image.cpu().numpy().reshape(expected.image.shape) == expected.image).mean() > 0.99


def test_a_blur_wider_than_the_image(kernel_device: str) -> None:
    """The borders are reflected more than once."""
    from diff2i2p_core.ops.kernels.view_image import image_and_depth

    sums = torch.zeros(2, 140, 3)
    sums[0, 4], sums[1, 130] = torch.tensor([1.0, 50, 1]), torch.tensor([1.0, 200, 1])
    image, _ = image_and_depth(sums.to(kernel_device), 1.0, 9)
    camera = Camera(140, 2, 60, 60, 70, 1)
    means = np.array([[1, 50], [1, 200]], np.float32)
    expected = filled_view(np.array([4, 270]), means, (), camera, np.eye(4), 1 / 96)
    np.testing.assert_array_equal(image[..., 0].cpu().numpy(), expected.image)


def test_xfeat_describes_the_view_where_it_is(
    kernel_device: str, xfeat_network: XFeat, room_cloud: PointCloud
) -> None:
    rng = np.random.default_rng(0)
    speckled = PointCloud(room_cloud.points, rng.integers(0, 256, (len(room_cloud), 3), np.uint8))
    blocks = BlockCloud.of(speckled)
    there = DeviceBlocks(blocks, DeviceCloud.of(blocks.cloud, torch.device(kernel_device)))
    scene = SPACING, invert(POSES[0]), CAMERA, RenderSettings()
    expected = describe_view(blocks, *scene, PictureNetworks(copy.deepcopy(xfeat_network)))
    found = describe_view(there, *scene, PictureNetworks(copy.deepcopy(xfeat_network), kernel_device))
    assert found.descriptors.device.type == kernel_device and len(expected) > 5
    apart = np.linalg.norm(found.points[:, None] - expected.points, axis=2).min(axis=1)
    assert (apart < 1e-5).mean() > 0.9


def test_nothing_in_view(kernel_device: str, room_cloud: PointCloud) -> None:
    camera = Camera(20, 8, 15, 15, 9.5, 3.5)
    away = invert(looking(np.array([50.0, 50, 1.2]), 0.0, 0.0))
    for cloud in (room_cloud, room_cloud.take(slice(0))):
        view = render_view_there(DeviceCloud.of(cloud, torch.device(kernel_device)), away, camera, SPACING)
        image, depth = of_device(view, kernel_device)
        assert image.shape == (8, 20, 3) and not image.any() and not depth.any()
        points, rows = view.known_points(torch.tensor([[5.0, 5.0]], device=kernel_device))
        assert points.shape == (0, 3) and not len(rows)


def launches() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 48, 57):
        points = rng.uniform(1, 2, (count, 3)).astype(np.float32)
        colors = np.zeros((count, 3), np.uint8)
        render_view_there(
            DeviceCloud.of(PointCloud(points, colors), torch.device("cpu")), np.eye(4), CAMERA, SPACING
        )


@pytest.mark.slow
def test_kernels_compile_once_for_a_gpu(compile_launches: Callable[..., list[dict[str, Any]]]) -> None:
    """Whatever the number of points."""
    kernels = compile_launches("test_view_kernels:launches")
    assert sorted(kernel["name"] for kernel in kernels) == [
        "add_visible", "background", "fill", "front_depths", "limits", "mean_rows", "median",
        "of_neighbours", "of_neighbours", "sum_rows",
    ]  # fmt: skip
    for kernel in kernels:
        assert kernel["spilled"] == 0
        assert kernel["registers"] <= 96
