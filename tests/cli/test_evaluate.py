"""`evaluate localization`: the JSON contract, files, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import Command

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames, 0 to 7, of a synthetic room."""
    folder = tmp_path_factory.mktemp("frames")
    write_frames(
        folder, make_room(3), Camera(320, 240, 262.5, 262.5, 159.5, 119.5), camera_path(make_room(3), 8, 1)
    )
    return folder


@pytest.fixture
def evaluate(command: Command) -> Command:
    """Run `diff2i2p evaluate localization` in this process."""
    return partial(command, "evaluate", "localization")


def test_json_has_the_promised_keys_and_out_gets_its_files(
    evaluate: Command, frames: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    ranges = ("--map-range", "0:5", "--query-range", "6:")
    out = tmp_path / "out"
    status, printed, _ = evaluate(frames, frames, *ranges, "--weights", tiny_weights, "--json", "--out", out)
    assert status == 0
    summary = json.loads(printed)
    assert set(summary) == {
        "queries", "localized", "recall_005m_5deg", "recall_010m_5deg", "recall_025m_10deg",
        "median_translation_m", "median_rotation_deg", "false_localizations", "latency_ms", "covariance",
    }  # fmt: skip
    assert summary["queries"] == 2
    assert set(summary["latency_ms"]) == {"median", "p95"}
    written = json.loads((out / "summary.json").read_text())
    assert [row["number"] for row in written["frames"]] == [6, 7]
    assert {key: written[key] for key in summary} == summary
    assert (out / "report.html").exists() and (out / "trajectory.tum").exists()


def test_the_right_place_is_found_among_others(
    evaluate: Command, frames: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--limit", 1, "--beside", frames, "--weights", tiny_weights, "--json", "--out", out)
    status, printed, _ = evaluate(frames, frames, "--map-range", "0:5", *options)
    assert status == 0 and json.loads(printed)["queries"] == 1
    assert json.loads((out / "summary.json").read_text())["about"]["beside it"] == str(frames)


def test_tracked(
    evaluate: Command, frames: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consecutive images: each pose is the prior of the next."""
    priors = []

    def localize(self: Localizer, *arguments: object, prior: object = None, **named: object) -> Localization:
        priors.append(prior)
        found, pose = Localization.refused(""), self.map.views[0]
        return replace(found, localized=True, map_from_camera=pose, covariance=np.eye(6))

    monkeypatch.setattr(Localizer, "localize", localize)
    ranges = ("--map-range", "0:5", "--query-range", "5:")
    status, printed, _ = evaluate(frames, frames, *ranges, "--weights", tiny_weights, "--json", "--track")
    assert status == 0 and json.loads(printed)["localized"] == 3
    assert [prior is not None for prior in priors] == [False, True, True]


def test_without_alignment(
    evaluate: Command, frames: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def localize(self: Localizer, *arguments: object, **named: object) -> Localization:
        asked.append(self.settings.align)
        return Localization.refused("not looked at")

    monkeypatch.setattr(Localizer, "localize", localize)
    for option in ("--align", "--no-align"):
        assert evaluate(frames, frames, "--limit", 1, "--weights", tiny_weights, option)[0] == 0
    assert asked == [True, False]


def test_one_folder_for_map_and_images_is_opened_once(
    evaluate: Command, frames: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_(self: PosedFrames, folder: Path, *rest: Any) -> None:
        opened.append(folder)
        really_open(self, folder, *rest)

    really_open = PosedFrames.__init__
    monkeypatch.setattr(PosedFrames, "__init__", open_)
    monkeypatch.setattr(Localizer, "localize", lambda *_, **__: Localization.refused("not looked at"))
    assert evaluate(frames, frames, "--limit", 1, "--weights", tiny_weights)[0] == 0
    assert opened == [frames]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/nowhere", "/nowhere"), "/nowhere"),
        (("FRAMES", "/nowhere"), "/nowhere"),
        (("FRAMES", "FRAMES", "--map-range", "90:"), "--map-range"),
        (("FRAMES", "FRAMES", "--query-range", "x"), "--query-range"),
        (("FRAMES", "FRAMES", "--weights", "/nowhere.pth"), "/nowhere.pth"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    evaluate: Command, frames: Path, arguments: tuple[str, ...], words: str
) -> None:
    status, printed, error = evaluate(*(str(frames) if a == "FRAMES" else a for a in arguments))
    assert (status, printed) == (2, "")
    assert words in error and error.count("\n") == 1
