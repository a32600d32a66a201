"""A replay as a function: what it returns, what it writes, and settings that contradict each other."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import write_bag
from replay_room import MAP_INFO, KnowingLocalizer, messages, stamp, true_pose

from diff2i2p_core import InputError, ReplaySettings, TruthSource, replay
from diff2i2p_core.evaluation import offline_replay
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.localization.localizer import Localizer


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bag`, and a map whose localizer knows all images but two."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Localizer, "open", lambda *a, **k: KnowingLocalizer(lost=(3, 4)))
    monkeypatch.setattr(offline_replay, "load_info", lambda path: (MAP_INFO, {}))
    write_bag(tmp_path / "bag", messages())
    stamps = [stamp(number) / 1e9 for number in range(12)]
    write_trajectory(tmp_path / "truth/gt.tum", stamps, [true_pose(number) for number in range(12)])


def test_by_default_each_image_without_a_truth() -> None:
    told: list[tuple[str, int, int | None]] = []
    result = replay("bag", "room.map", progress=lambda *now: told.append(now))
    assert [r.map_from_camera is not None for r in result.replay.results] == [
        number not in (3, 4) for number in range(12)
    ]
    assert (result.summary.localized, result.summary.with_truth) == (10, 0)
    assert result.passed and list(result.verdicts) == [] and result.node is None
    assert told[0] == ("reading the bag", 0, None) and told[-1] == ("localizing", 12, 12)


def test_verdicts_and_files() -> None:
    settings = ReplaySettings(
        odom_frame="odom",
        base_frame="base_link",
        truth=TruthSource(file=Path("truth/gt.tum")),
        requirements=("ate<=0.03", "availability==1"),
    )
    result = replay(Path("bag"), Path("room.map"), settings, out="out")
    assert [verdict.passed for verdict in result.verdicts] == [True, False] and not result.passed
    assert result.summary.rmse_translation_m == pytest.approx(0.02, abs=2e-3)  # combined with odometry
    written = json.loads(Path("out/result.json").read_text())
    assert len(written.pop("frames")) == 12 and written == result.as_dict()
    assert {path.name for path in Path("out").iterdir()} == {"report.html", "trajectory.tum", "result.json"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"live": True, "realtime": True}, "`realtime`: `live` is always in the bag's time"),
        ({"rate": 2.0}, "`rate`: is only for `live`"),
        ({"rate": 0.0, "live": True}, "`rate` 0.0: give seconds"),
        ({"align": "se3"}, "`align`: there is no truth to align; give `truth`"),
        ({"requirements": ("false==0",)}, "`requirement` 'false==0': needs the truth; give `truth`"),
        ({"requirements": ("speed>1",)}, "'speed>1': expected NAME>=NUMBER"),
        (
            {"requirements": ("ate<1",), "align": "se3", "truth": TruthSource(topic="/gt")},
            "`requirement` 'ate<1': is judged in the map's frame; leave `align` out",
        ),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        dataclasses.replace(ReplaySettings(), **settings)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("bag", "bag: is an input"),
        ("bag/../bag", "is an input, bag"),
        ("truth/gt.tum", "truth/gt.tum: is an input"),
        ("results", "results/trajectory.tum: is an input, truth/gt.tum"),
        ("bag/metadata.yaml", "bag/metadata.yaml: is a file; give a folder"),
    ],
)
def test_an_input_is_not_written_over(out: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("results").mkdir()
    Path("results/trajectory.tum").symlink_to("../truth/gt.tum")
    monkeypatch.setattr(offline_replay, "load_info", lambda path: pytest.fail("work was begun"))
    with pytest.raises(InputError, match=words):
        replay("bag", "room.map", ReplaySettings(truth=TruthSource(file=Path("truth/gt.tum"))), out=out)
