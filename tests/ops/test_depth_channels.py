"""Channels of depth: exact on planes, sharp at edges, blank where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.ops.depth_channels import CHANNELS, depth_channels, fine_normals

CAMERA = Camera(96, 64, 80.0, 84.0, 47.0, 30.0)
U, V = np.meshgrid((np.arange(96) - CAMERA.cx) / CAMERA.fx, (np.arange(64) - CAMERA.cy) / CAMERA.fy)


def plane(normal: list[float], distance: float) -> np.ndarray:
    """The depth of a plane with this normal (away from the camera) at a distance."""
    n = np.array(normal) / np.linalg.norm(normal)
    return np.asarray(distance / (n[0] * U + n[1] * V + n[2]), np.float32)


@pytest.mark.parametrize("normal", [[0, 0, 1], [0.5, 0, 1], [-0.3, 0.6, 1]])
def test_normals_of_planes_are_exact(normal: list[float]) -> None:
    channels = depth_channels(plane(normal, 2.0), CAMERA)
    unit = np.array(normal) / np.linalg.norm(normal)
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert channels.shape == (CHANNELS, 64, 96) and channels.dtype == np.float32
    for first in (0, 3):
        cosine = (unit[0] * U + unit[1] * V + unit[2]) / np.sqrt(U**2 + V**2 + 1)
        assert np.abs(channels[first] - cosine)[inner[1:]].max() < 0.01
        assert np.abs(channels[first + 1] - unit[0])[inner[1:]].max() < 0.01
        assert np.abs(channels[first + 2] - unit[1])[inner[1:]].max() < 0.01


def test_fine_normals_are_the_first_channels() -> None:
    depth = plane([0.5, 0, 1], 2.0)
    depth[10:20, 30:50] = 1.0
    depth[:5] = 0
    np.testing.assert_array_equal(fine_normals(depth, CAMERA), depth_channels(depth, CAMERA)[:3])
    assert not fine_normals(np.zeros_like(depth), CAMERA).any()


def test_normals_do_not_mix_both_sides_of_an_edge() -> None:
    left, right = plane([0.8, 0, 1], 1.5), plane([-0.8, 0, 1], 1.5)
    depth = np.where(np.arange(96) < 48, left, right).astype(np.float32)
    x = depth_channels(depth, CAMERA)[4, 20:-20]
    assert (x[:, 20:46] > 0.55).all() and (x[:, 50:76] < -0.55).all()


def test_edges_and_unknown_pixels() -> None:
    depth = np.full((64, 96), 3.0, np.float32)
    depth[20:40, 30:60] = 1.0
    depth[:, 80:] = 0
    channels = depth_channels(depth, CAMERA)
    edges, known = channels[7], channels[9]
    assert edges[30, 29:31].min() > 1 and edges[30, 45] == edges[5, 5] == 0
    assert (channels[:, :, 80:] == 0).all() and known[:, :80].all()
    assert channels[6, 30, 32] > 0 > channels[6, 30, 27], "relief: nearer than its surroundings, or farther"
    assert not depth_channels(np.zeros((64, 96), np.float32), CAMERA).any()
