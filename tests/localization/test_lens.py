"""Images of a camera with lens distortion: rectified once, and the depth with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known_matches import CAMERA, IMAGE, network_of

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.depth import rectify_depth
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.weights.checkpoint import read_config, save_model

LENS = replace(CAMERA, distortion_model="plumb_bob", distortion=(0.2, 0.0, 0.0, 0.0, 0.0))


def test_image_and_depth_reach_the_network_without_the_lens(
    tiny_weights: Path,
    room_cloud: PointCloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = read_config(tiny_weights)[0].model_copy(update={"mode": "rgbd", "name": "tiny-rgbd"})
    save_model(Diff2I2P(config), tmp_path / "rgbd.safetensors")
    view = looking(np.array([2, 1.0, 1.2]), 1.5, 0.1)
    localizer = Localizer.from_cloud(
        room_cloud, matcher="network", weights=tmp_path / "rgbd.safetensors", views=view[None]
    )
    inputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    encode = network_of(localizer).model.encode_image

    def remembered(image: torch.Tensor, points: torch.Tensor, **named: Any) -> Any:
        inputs.append((image, points))
        return encode(image, points, **named)

    monkeypatch.setattr(network_of(localizer).model, "encode_image", remembered)
    depth = np.random.default_rng(1).uniform(1, 3, (240, 320)).astype(np.float32)
    localizer.localize(IMAGE, LENS, depth=depth)
    localizer.localize(LENS.rectify(IMAGE), CAMERA, depth=rectify_depth(depth, LENS))
    localizer.localize(IMAGE, CAMERA, depth=depth)
    for through_the_lens, rectified, ignored in zip(*inputs, strict=True):
        assert torch.equal(through_the_lens, rectified)
        assert not torch.equal(through_the_lens, ignored)


def test_what_is_doubtful_about_a_camera_is_said_with_the_answer(
    tiny_weights: Path, room_cloud: PointCloud
) -> None:
    view = looking(np.array([2, 1.0, 1.2]), 1.5, 0.1)
    localizer = Localizer.from_cloud(room_cloud, matcher="network", weights=tiny_weights, views=view[None])
    assert localizer.localize(IMAGE, CAMERA).warnings == ()
    (warning,) = localizer.localize(IMAGE, replace(CAMERA, cx=CAMERA.cx / 2)).warnings
    assert "may be of another image size" in warning


def test_a_strip_ends_at_once(tiny_weights: Path, room_cloud: PointCloud) -> None:
    view = looking(np.array([2, 1.0, 1.2]), 1.5, 0.1)
    localizer = Localizer.from_cloud(room_cloud, matcher="network", weights=tiny_weights, views=view[None])
    strip = replace(CAMERA, width=8000, height=10, cx=4000, cy=5)
    with pytest.raises(
        InputError, match="image: the size is 8000x10, a strip; give an image of at most 20:1"
    ):
        localizer.localize(np.zeros((10, 8000, 3), np.uint8), strip)
