"""`diff2i2p prepare`."""

from __future__ import annotations

import pickle
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from raw_layouts import recording, write_posed_folder
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app, run
from diff2i2p_core.errors import InputError
from diff2i2p_core.models.config import lite_config
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs, BenchmarkSettings
from diff2i2p_core.pairs.benchmarks import BENCHMARKS
from diff2i2p_core.pairs.metadata import read_metadata


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["prepare", *(str(a) for a in arguments)])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def write_frames(folder: Path, data_dir: Path, numbers: range) -> Path:
    """A part of a real recording."""
    source = data_dir / "tum_fr3_teddy"
    folder.mkdir()
    shutil.copy(source / "camera-intrinsics.txt", folder)
    for number in numbers:
        for path in source.glob(f"frame-{number:06d}.*"):
            (folder / path.name).symlink_to(path)
    return folder


def test_frames_then_check(data_dir: Path, tmp_path: Path) -> None:
    source = write_frames(tmp_path / "teddy", data_dir, range(40))
    out = tmp_path / "set"
    options = ("--window", 2, "--gap", 2, "--processes", 1)
    assert "1 scenes, pairs: " in invoke("frames", source, out, *options)
    assert f"{out}: valid, pairs: " in invoke("check", out, "--sample", 3)
    page = (out / "check.html").read_text()
    assert page.count("<figure ") >= 3 and "No problems were found" in page
    (out / "checksums.sha256").unlink()
    with pytest.raises(
        InputError,
        match=r"missing or changed since the set was made; prepare the set again .1 problem in all",
    ):
        invoke("check", out)


def test_a_single_scene_can_be_the_test_set(tmp_path: Path) -> None:
    """There are no training recordings, so no part of them is taken for validation."""
    source, out = write_posed_folder(tmp_path / "hall", recording(60)), tmp_path / "set"
    options = ("--window", 5, "--voxel", 0.05, "--processes", 1)
    counts = re.search(
        r"pairs: 0 train, 0 val, (\d+) test", invoke("frames", source, out, "--test", "hall", *options)
    )
    assert counts is not None and int(counts[1]) > 0
    pairs = BenchmarkPairs(BenchmarkSettings(root=out), lite_config("geometry"), "test")
    assert pairs.epoch_length == int(counts[1])
    assert f"{out}: valid, pairs: {counts[1]} test\n" == invoke("check", out)


def test_check_compares_a_published_sets_counts_with_the_papers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_posed_folder(tmp_path / "hall", recording(60)), tmp_path / "set"
    options = ("--window", 5, "--voxel", 0.025, "--gap", 5, "--processes", 1)
    invoke("frames", source, out, *options)
    for name in ("dataset.json", "checksums.sha256"):
        (out / name).unlink()  # as published
    count = len(read_metadata(out, "7scenes", "test"))
    assert f"test: {count} pairs, the papers have 2304\n" in invoke("check", out)
    monkeypatch.setitem(BENCHMARKS["7scenes"].pairs, "test", count)
    assert f"test: {count} pairs, as in the papers\n" in invoke("check", out)


def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["diff2i2p", "prepare", "7scenes", str(tmp_path / "x.zip"), str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == f"diff2i2p: {tmp_path / 'x.zip'}: no such file or folder; give the downloaded data"
    with pytest.raises(InputError, match=r"--val 1\.5: give a fraction below 1"):
        invoke("frames", tmp_path, tmp_path / "out", "--val", "1.5")


def test_metadata_pickles_become_json(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    source = data_dir / "7scenes_mini/metadata/val-full.pkl"
    shutil.copy(source, tmp_path / "metadata")
    target = tmp_path / "metadata/val-full.jsonl"
    assert invoke("metadata", target.with_suffix(".pkl")).strip() == str(target.resolve())
    entries, records = read_metadata(tmp_path, "7scenes", "val"), pickle.loads(source.read_bytes())
    assert [entry.cloud_file for entry in entries] == [record["cloud_file"] for record in records]
    np.testing.assert_array_equal(entries[3].camera_from_cloud, records[3]["cloud_to_image"])


def test_wrong_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    path = tmp_path / "metadata/train.pkl"
    for content, words in (
        (pickle.dumps({"a": 1}), "not a list of dicts"),
        (b"half", "broken pickle"),
        (pickle.dumps([{"call": print}]), "print"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            invoke("metadata", path)
        assert not path.with_suffix(".jsonl").exists()
    with pytest.raises(InputError, match=r"not ROOT/metadata/NAME\.pkl"):
        invoke("metadata", tmp_path / "train.pkl")
