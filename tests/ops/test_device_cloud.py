"""Views of a cloud in a GPU's memory by torch's kernels: the same as NumPy's, on the CPU and on CUDA.

Those by our own kernels: `kernels/test_view_kernels.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pretended_gpu import CUDA, PretendedGpu, on_gpu, pretended_gpu

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.device_blocks import DeviceBlocks, placed
from diff2i2p_core.mapping.looks import LOOKS
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.ops.device_cloud import DeviceCloud
from diff2i2p_core.ops.render_there import DeviceView, View, render_shape_there, render_view_there
from diff2i2p_core.ops.render_view import RenderedView, buffer_step, render_shape, render_view, seen_points

CAMERA = Camera(320, 240, 260, 262, 159.3, 120.1)
SPACING = 0.035
POSES = [invert(looking(np.array([x, 1.5, 1.2]), yaw, 0.1)) for x, yaw in ((2.0, 0.5), (1.0, -2.0))]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def torch_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")


def assert_same_view(ours: View, theirs: RenderedView) -> None:
    """But for the few points whose rounding puts them into another pixel."""
    assert isinstance(ours, RenderedView)
    assert (theirs.depth > 0).mean() > 0.8
    same = np.isclose(ours.depth, theirs.depth, rtol=1e-5)
    assert same.mean() > 0.998
    assert (np.abs(ours.image.astype(int) - theirs.image)[same] <= 1).mean() > 0.998


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("kind", ["colors", "intensity", "shape"])
def test_a_view_is_that_of_numpy(room_cloud: PointCloud, device: str, pose: np.ndarray, kind: str) -> None:
    here, there = (render_shape, render_shape_there) if kind == "shape" else (render_view, render_view_there)
    cloud = room_cloud
    if kind == "intensity":
        assert room_cloud.colors is not None
        cloud = PointCloud(room_cloud.points, intensity=room_cloud.colors[:, 0])
    ours = there(DeviceCloud.of(cloud, torch.device(device)), pose, CAMERA, SPACING)
    assert_same_view(ours, here(cloud, pose, CAMERA, SPACING))


@pytest.mark.parametrize("device", DEVICES)
def test_hidden_points_are_those_of_numpy(room_cloud: PointCloud, device: str) -> None:
    from diff2i2p_core.ops.device_cloud import seen_there

    there = DeviceCloud.of(room_cloud, torch.device(device)).points
    limits = SPACING, 0.1, 10.0
    seen, pixel, z = seen_there(there, POSES[0], CAMERA, *limits, buffer_step(CAMERA))
    expected, _, _ = seen_points(room_cloud.points, POSES[0], CAMERA, *limits)
    ours = set(seen.tolist())
    assert len(ours ^ set(expected.tolist())) < 0.002 * len(expected)
    in_view = render_view(room_cloud, POSES[0], CAMERA, SPACING).depth.size
    assert len(expected) > 1000 and int(pixel.max()) < in_view and float(z.min()) > 0.1


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_in_view(room_cloud: PointCloud, device: str) -> None:
    away = invert(looking(np.array([50.0, 50, 1.2]), 0.0, 0.0))
    view = render_view_there(DeviceCloud.of(room_cloud, torch.device(device)), away, CAMERA, SPACING)
    assert isinstance(view, RenderedView)
    assert view.image.shape == (240, 320, 3) and not view.image.any() and not view.depth.any()


def test_only_the_blocks_in_view_are_drawn(room_cloud: PointCloud) -> None:
    far = PointCloud(room_cloud.points + np.array([20, 0, 0], np.float32), room_cloud.colors)
    blocks = BlockCloud.of(PointCloud.joined([room_cloud, far]))
    there = DeviceBlocks(blocks, DeviceCloud.of(blocks.cloud, torch.device("cpu")))
    for pose in POSES:
        seen, expected = there.seen(pose, CAMERA, (0.1, 8.0)), blocks.seen(pose, CAMERA, (0.1, 8.0))
        assert 0 < len(seen) < len(blocks.cloud)
        np.testing.assert_array_equal(seen.points.numpy(), expected.points)
        assert seen.colors is not None
        np.testing.assert_array_equal(seen.colors.numpy(), expected.colors)
    away = invert(looking(np.array([500.0, 50, 1.2]), 0.0, 0.0))
    assert len(there.seen(away, CAMERA, (0.1, 8.0))) == 0


def test_points_stay_on_the_gpu(room_cloud: PointCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch):
        blocks = placed(BlockCloud.of(room_cloud), LOOKS["colors"], CUDA)
        assert isinstance(blocks, DeviceBlocks) and on_gpu(blocks.there.points)
        seen = blocks.seen(POSES[0], CAMERA, (0.1, 8.0))
        assert on_gpu(seen.points) and seen.colors is not None and on_gpu(seen.colors)
        moved: list[tuple[bool, int]] = []
        move = PretendedGpu._moved

        def watched(func: Any, args: Any, kwargs: Any) -> Any:
            moved.append((on_gpu(args[0]), args[0].numel()))
            return move(func, args, kwargs)

        monkeypatch.setattr(PretendedGpu, "_moved", staticmethod(watched))
        view = render_view_there(seen, POSES[0], CAMERA, SPACING)
    assert isinstance(view, RenderedView)
    assert {there for there, _ in moved} == {True, False}  # to the CPU, and the coarse z-buffer back
    assert max(size for _, size in moved) <= 4 * view.depth.size  # nothing larger than the pixels
    assert_same_view(view, render_view(room_cloud, POSES[0], CAMERA, SPACING))


def test_what_is_rendered_on_the_cpu_stays_there(room_cloud: PointCloud) -> None:
    blocks = BlockCloud.of(room_cloud)
    assert placed(blocks, LOOKS["colors"], torch.device("cpu")) is blocks
    assert placed(blocks, LOOKS["intensity"], CUDA) is blocks


@pytest.mark.parametrize("device", DEVICES)
def test_points_of_a_view_that_stays_there(device: str) -> None:
    """Those of the same view on the CPU; pixels between two, outside of the image and without depth, too."""
    depth = np.random.default_rng(0).uniform(0, 3, (240, 320)).astype(np.float32)
    depth[depth < 1] = 0
    image = np.zeros((240, 320, 3), np.uint8)
    view = RenderedView(image, depth, CAMERA, POSES[0])
    tensors = torch.from_numpy(image).to(device), torch.from_numpy(depth).to(device)
    there = DeviceView(*tensors, CAMERA, POSES[0])
    pixels = np.random.default_rng(1).uniform(-5, 325, (400, 2)).astype(np.float32)
    pixels[:4] = [[0.5, 1.5], [-0.5, 3], [319.5, 3], [319.4, 239.4]]
    (expected, rows), (points, found) = (
        each.known_points(torch.from_numpy(pixels).to(device)) for each in (view, there)
    )
    assert 100 < len(expected) < 300 and found.device.type == device
    assert torch.equal(rows.cpu(), found.cpu())
    np.testing.assert_array_equal(points, expected)


def test_only_points_of_features_leave_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    image, depth = torch.zeros(240, 320, 3, dtype=torch.uint8), torch.ones(240, 320)
    with pretended_gpu(monkeypatch):
        view = DeviceView(image.to(CUDA), depth.to(CUDA), CAMERA, np.eye(4))
        moved: list[int] = []
        move = PretendedGpu._moved

        def watched(func: Any, args: Any, kwargs: Any) -> Any:
            moved.append(args[0].numel())
            return move(func, args, kwargs)

        monkeypatch.setattr(PretendedGpu, "_moved", staticmethod(watched))
        points, rows = view.known_points(torch.rand(50, 2, device=CUDA) * 200)
        assert on_gpu(rows) and points.shape == (50, 3)
    assert [size for size in moved if size > 1] == [150]
