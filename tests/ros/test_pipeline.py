"""Images through the pipeline with the real localizer, without DDS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from sensor_msgs.msg import Image

from diff2i2p.frames import Frames
from diff2i2p.health import DEPTH_MISSING, Health
from diff2i2p.job import Job
from diff2i2p.parameters import Parameters
from diff2i2p.pipeline import Pipeline
from diff2i2p.transforms import Buffer
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.weights.checkpoint import read_config, save_model

CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5, "plumb_bob", (0.1, 0.0, 0.0, 0.0, 0.0))


def _image(pixels: np.ndarray, encoding: str) -> Image:
    height, width = pixels.shape[:2]
    step = pixels.strides[0]
    message = Image(height=height, width=width, encoding=encoding, step=step, data=pixels.tobytes())
    message.header.stamp.sec = 1
    return message


def test_depth_reaches_a_network_that_needs_it(
    tiny_weights: Path, room_cloud: PointCloud, tmp_path: Path
) -> None:
    """And without it, one clear fault; untrained weights find no pose."""
    config = read_config(tiny_weights)[0].model_copy(update={"mode": "rgbd", "name": "tiny-rgbd"})
    save_model(Diff2I2P(config), tmp_path / "rgbd.safetensors")
    view = looking(np.array([2, 1.0, 1.2]), -1.5, 0.1)
    localizer = Localizer.from_cloud(
        room_cloud, matcher="network", weights=tmp_path / "rgbd.safetensors", views=view[None]
    )
    health = Health(parameters=Parameters(), state="active", map="the room")
    health.needs_depth = localizer.needs_depth
    assert health.judge()[1] == DEPTH_MISSING
    pipeline = Pipeline(Localizer, Frames(Parameters(use_depth=True), Buffer()), health)
    pipeline.use(localizer, "the room")
    image = _image(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8), "rgb8")
    depth = _image(np.full((240, 320), 2000, "<u2"), "16UC1")
    result = pipeline.process(Job(image, CAMERA, "camera", 0.0, depth))
    assert result is not None and not result.localization.localized
    assert health.counts["images_not_localized"] == 1
    with pytest.raises(InputError, match="'tiny-rgbd' need the query's depth"):
        pipeline.process(Job(image, CAMERA, "camera", 0.0))
