"""A replay in the viewer: its poses, its cameras, and files that do not fit."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from viewer import drawn, panel, sliders

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.reports.map_replay import COLORS, RecordedReplay, show_replay

CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)


def result_json(stamps: list[float], **more: Any) -> str:
    frames: list[dict[str, Any]] = [
        {"number": 2 * i, "stamp": s, "translation_m": 0.2 * i, "rotation_deg": 1.0, "num_inliers": 50}
        for i, s in enumerate(stamps)
    ]
    lost = {"number": 1, "stamp": stamps[0] + 0.5}
    return json.dumps({"frames": [*frames[:1], lost, *frames[1:]], **more})


def test_a_slider_goes_through_a_replay(server: Any, tmp_path: Path) -> None:
    stamps, poses = [10.0, 11, 12, 13, 14], [exp([0, 0, 0.1 * i, 0.1 * i, 0, 1]) for i in range(5)]
    write_trajectory(tmp_path / "trajectory.tum", stamps, poses)
    (tmp_path / "result.json").write_text(result_json(stamps))
    show_replay(server, RecordedReplay.read(tmp_path))
    scene = drawn(server)
    assert scene["/replay/path"].points.shape == (4, 2, 3) and "/replay/body/frustum" in scene
    slider = sliders(server)["pose"]
    assert (slider.min, slider.max) == (0, 4)
    for number in (3, 0, 4):
        slider.value = number
        np.testing.assert_allclose(drawn(server)["/replay/body"].position, poses[number][:3, 3], atol=1e-6)
    words = panel(server)
    assert "5 of 6 images were localized. Shown: the camera." in words
    assert "4.00 s**, image 8: (0.40, 0.00, 1.00) m, 50 inliers, 80.0 cm and 1.00° off" in words
    assert "1 within 10 cm and 5°" in words and "3 worse" in words
    dots = scene["/replay/poses"].colors
    assert len(np.unique(dots, axis=0)) == 3 and dots[4].tolist() == list(COLORS["poor"])


def test_a_replay_of_several_cameras_shows_all_of_them(server: Any, tmp_path: Path) -> None:
    stamps, poses = [10.0, 11], [exp([0, 0, 0, 1.0 * i, 0, 1]) for i in range(2)]
    write_trajectory(tmp_path / "trajectory.tum", stamps, poses, body="base_link")
    left = exp([0, 1, 0, 0.2, 0, 0])
    cameras = {
        "/front/image": {"images": 2, "camera": asdict(CAMERA), "body_from_camera": np.eye(4).tolist()},
        "/left/image": {"images": 2, "camera": asdict(CAMERA), "body_from_camera": left.tolist()},
        "/never/image": {"images": 0, "camera": None, "body_from_camera": None},
    }
    (tmp_path / "result.json").write_text(result_json(stamps, cameras=cameras))
    show_replay(server, RecordedReplay.read(tmp_path))
    scene = drawn(server)
    assert {"/replay/body/front_image/frustum", "/replay/body/left_image/frustum"} <= set(scene)
    np.testing.assert_allclose(scene["/replay/body/left_image"].position, [0.2, 0, 0])
    assert "Shown: the frame base_link with its cameras /front/image, /left/image." in panel(server)


def test_a_replay_whose_files_do_not_fit_is_refused(tmp_path: Path) -> None:
    write_trajectory(tmp_path / "trajectory.tum", [10.0], [np.eye(4)])
    for text in ("", "[]", "{}", result_json([99.0])):
        (tmp_path / "result.json").write_text(text)
        with pytest.raises(InputError, match="replay the bag again"):
            RecordedReplay.read(tmp_path)
