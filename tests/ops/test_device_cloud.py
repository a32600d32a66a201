"""Views of a cloud in a GPU's memory: the same as NumPy's of the same cloud, on the CPU and on CUDA."""

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
from diff2i2p_core.ops.render_view import RenderedView, buffer_step, render_shape, render_view, seen_points

CAMERA = Camera(320, 240, 260, 262, 159.3, 120.1)
SPACING = 0.035
POSES = [invert(looking(np.array([x, 1.5, 1.2]), yaw, 0.1)) for x, yaw in ((2.0, 0.5), (1.0, -2.0))]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def assert_same_view(ours: RenderedView, theirs: RenderedView) -> None:
    """But for the few points whose rounding puts them into another pixel."""
    assert (theirs.depth > 0).mean() > 0.8
    same = np.isclose(ours.depth, theirs.depth, rtol=1e-5)
    assert same.mean() > 0.998
    assert (np.abs(ours.image.astype(int) - theirs.image)[same] <= 1).mean() > 0.998


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("kind", ["colors", "intensity", "shape"])
def test_a_view_is_that_of_numpy(room_cloud: PointCloud, device: str, pose: np.ndarray, kind: str) -> None:
    render = render_shape if kind == "shape" else render_view
    cloud = room_cloud
    if kind == "intensity":
        assert room_cloud.colors is not None
        cloud = PointCloud(room_cloud.points, intensity=room_cloud.colors[:, 0])
    ours = render(DeviceCloud.of(cloud, torch.device(device)), pose, CAMERA, SPACING)
    assert_same_view(ours, render(cloud, pose, CAMERA, SPACING))


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
    view = render_view(DeviceCloud.of(room_cloud, torch.device(device)), away, CAMERA, SPACING)
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
        view = render_view(seen, POSES[0], CAMERA, SPACING)
    assert {there for there, _ in moved} == {True, False}  # to the CPU, and the coarse z-buffer back
    assert max(size for _, size in moved) <= 4 * view.depth.size  # nothing larger than the pixels
    assert_same_view(view, render_view(room_cloud, POSES[0], CAMERA, SPACING))


def test_what_is_rendered_on_the_cpu_stays_there(room_cloud: PointCloud) -> None:
    blocks = BlockCloud.of(room_cloud)
    assert placed(blocks, LOOKS["colors"], torch.device("cpu")) is blocks
    assert placed(blocks, LOOKS["intensity"], CUDA) is blocks
