"""`evaluate localization` of several cameras: output and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from in_process import Command
from replay_room import KnowingLocalizer
from rig_frames import write_rig

from diff2i2p_core.localization.localizer import Localizer


def test_the_command_writes_a_table_of_cameras(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_rig(tmp_path / "rig")
    monkeypatch.setattr(Localizer, "from_frames", lambda *a, **k: _with_names(KnowingLocalizer()))
    out = tmp_path / "out"
    arguments = ("evaluate", "localization", folder / "front", folder)
    status, printed, _ = command(*arguments, "--json", "--out", out)
    assert status == 0
    summary = json.loads(printed)
    assert summary["localized"] == 8 and summary["cameras"]["left"]["alone"]["localized"] == 6
    assert json.loads((out / "summary.json").read_text())["cameras"] == summary["cameras"]
    report = (out / "report.html").read_text()
    assert "all together" in report and "left alone" in report and (out / "overlay.png").exists()
    status, printed, _ = command(*arguments, "--query-range", "2:4")
    assert status == 0 and printed.startswith("3 of 3 images localized")
    assert "\n  left alone: 3 of 3 images localized" in printed


def _with_names(localizer: KnowingLocalizer) -> KnowingLocalizer:
    localizer.proposers = ()
    return localizer
