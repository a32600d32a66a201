"""`--camera` and `--rectified` of `localize` and `register`: the camera, and what is doubtful about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from in_process import Command, Outcome

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io import clouds
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.result import Localization

LENS = """image_width: 320
image_height: 240
camera_matrix: {rows: 3, cols: 3, data: [260, 0, 159.5, 0, 260, 119.5, 0, 0, 1]}
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0, 0, 0]}
"""
P = "projection_matrix: {data: [250, 0, 150, 0, 0, 251, 110, 0, 0, 0, 1, 0]}\n"


class Noting:
    """Stands in for `Localizer`: notes the camera of each image."""

    def __init__(self) -> None:
        self.cameras: list[Camera] = []
        self.map = SimpleNamespace(info=SimpleNamespace(origin=None))

    def localize(self, image: np.ndarray, camera: Camera, **options: object) -> Localization:
        self.cameras.append(camera)
        return replace(Localization.refused("none"), warnings=tuple(camera.doubts))


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Noting:
    found = Noting()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Localizer, "open", lambda *a, **k: found)
    monkeypatch.setattr(
        "diff2i2p_core.localization.register.register", lambda cloud, *a, **k: found.localize(*a)
    )
    monkeypatch.setattr(clouds, "read_cloud_at", lambda *a: (None, None, None))
    cv2.imwrite("image.png", np.zeros((240, 320, 3), np.uint8))
    (tmp_path / "lens.yaml").write_text(LENS)
    (tmp_path / "p.yaml").write_text(LENS + P)
    return found


@pytest.fixture(params=["localize", "register"])
def run(command: Command, noting: Noting, request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    first = {"localize": ("localize", "--map", "x.map"), "register": ("register", "--cloud", "x.ply")}
    return lambda *words: command(*first[request.param], "--image", "image.png", "--camera", *words)


def test_rectified_images_are_not_rectified_again(run: Callable[..., Outcome], noting: Noting) -> None:
    for words in (("lens.yaml",), ("lens.yaml", "--rectified"), ("p.yaml",), ("p.yaml", "--rectified")):
        assert run(*words).status == 3
    assert [camera.is_distorted for camera in noting.cameras] == [True, False, True, False]
    assert [camera.fx for camera in noting.cameras] == [260, 260, 260, 250]


def test_a_doubtful_calibration_is_said_in_the_result(run: Callable[..., Outcome]) -> None:
    done = run("260,260,240,119.5", "--json")
    (warning,) = json.loads(done.out)["warnings"]
    assert "principal point 240, 119.5 is far from the centre" in warning
    assert done.err.strip() == f"warning: {warning}" == run("260,260,240,119.5").err.strip()
    plain = run("260,260,159.5,119.5", "--json")
    assert json.loads(plain.out)["warnings"] == [] and plain.err == ""


def test_a_calibration_without_a_size_is_the_images(
    run: Callable[..., Outcome], noting: Noting, tmp_path: Path
) -> None:
    (tmp_path / "lens.yaml").write_text(LENS.replace("image_width: 320\nimage_height: 240\n", ""))
    run("lens.yaml")
    assert (noting.cameras[0].width, noting.cameras[0].height) == (320, 240)
