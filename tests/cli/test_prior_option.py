"""`--prior`: three ways to write a pose, and a scan registered from one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from in_process import Command

from diff2i2p_core.cli.options import answer, parse_pose
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import from_quaternion
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.result import Localization

POSE = from_quaternion([1, -2, 3], [0.1, 0.2, -0.3, 0.9])


def test_the_same_pose_in_three_ways(tmp_path: Path) -> None:
    numbers = ",".join(f"{value:.17g}" for value in POSE.ravel())
    np.savetxt(tmp_path / "pose.txt", POSE)
    quaternion = np.array([0.1, 0.2, -0.3, 0.9]) / np.linalg.norm([0.1, 0.2, -0.3, 0.9])
    seven = ",".join(map(str, [1, -2, 3, *quaternion]))
    for text in (numbers, str(tmp_path / "pose.txt"), seven):
        np.testing.assert_allclose(parse_pose(text, "--prior"), POSE, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3", "--prior '1,2,3': expected x,y,z,qx,qy,qz,qw"),
        ("1,2,3,a,0,0,1", "expected x,y,z"),
        (",".join("2" * 16), "not a rigid transform"),
        ("1,2,3,0,0,0,0", "has no unit quaternion"),
        ("1,2,3,0,0,0,1.5", "has no unit quaternion"),
        ("1,2,3,0.5", "'1,2,3,0.5': expected x,y,z,qx"),
        ("none.txt", "none.txt: cannot be read; --prior takes x,y,z"),
    ],
)
def test_other_texts_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_pose(text, "--prior")


def test_words_of_a_pose_that_comes_from_the_prior(capsys: pytest.CaptureFixture[str]) -> None:
    """No view or submap of the map was matched."""
    found = replace(
        Localization.refused(""),
        localized=True,
        map_from_camera=POSE,
        covariance=np.eye(6) * 1e-4,
        num_correspondences=504,
        agreement=0.54,
        matcher="views",
    )
    answer(found, as_json=False)
    words = capsys.readouterr().out
    assert "localized near the prior" in words and "agreement with the map 0.54" in words


def test_register_takes_a_prior(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prior is in the coordinates of the cloud's file, also if an origin is subtracted."""
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).uniform(-2, 2, (500, 3)) + np.array([500, 0, 0])
    np.savez("scan.npz", points=points, intensity=np.arange(500.0))
    cv2.imwrite("image.png", np.zeros((48, 64, 3), np.uint8))
    np.savetxt("pose.txt", POSE)
    priors = []

    class Nowhere:
        def localize(self, *arguments: object, prior: np.ndarray, **named: object) -> Localization:
            priors.append(prior)
            return Localization.refused("nowhere")

    monkeypatch.setattr(Localizer, "around", lambda *arguments, **named: Nowhere())
    call = ("register", "--cloud", "scan.npz", "--image", "image.png", "--camera", "60,60,32,24")
    outcome = command(*call, "--prior", "pose.txt", "--json")
    assert outcome.status == 3 and json.loads(outcome.out)["reason"] == "nowhere"
    assert command(*call, "--prior", "pose.txt", "--origin", "500,0,0").status == 3
    np.testing.assert_allclose(priors[0], POSE)
    np.testing.assert_allclose(priors[1][:3, 3], POSE[:3, 3] - [500, 0, 0])
    assert "--prior" in command(*call, "--prior", "pose.txt", "--weights", "lite-rgb").err
