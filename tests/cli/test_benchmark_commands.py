"""`test` and `eval` on a benchmark: interrupted runs that resume, epochs, reports, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from in_process import Command
from small_benchmark import NAMES

from diff2i2p_core.evaluation.cache import read_registration

REPO = Path(__file__).resolve().parents[2]


def test_an_interrupted_test_resumes(command: Command, experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    arguments = ("test", experiment, "--test-epoch", 1, "--out", out, "--json")
    status, printed, _ = command(*arguments)
    assert status == 0
    answer = json.loads(printed)
    assert (answer["registered"], answer["pairs"], answer["benchmark"]) == (3, 3, "7scenes")
    files = [out / f"{name}.npz" for name in NAMES]
    assert sorted(out.glob("*/*.npz")) == files
    assert [read_registration(path).name for path in files] == NAMES
    kept = files[0].stat().st_mtime_ns
    files[1].rename(files[1].with_name(".01-001_01-001.77.part.npz"))  # as if killed while writing
    assert json.loads(command(*arguments)[1])["registered"] == 1
    assert files[0].stat().st_mtime_ns == kept and files[1].exists()
    status, _, error = command("test", experiment, "--test-epoch", 2, "--out", out)
    assert status == 2 and "another test" in error and "weights" in error


def test_workers_change_nothing(command: Command, experiment: Path, tmp_path: Path) -> None:
    for workers in (0, 1):
        options = ("--test-epoch", 1, "--workers", workers, "--out", tmp_path / str(workers))
        assert command("test", experiment, *options)[0] == 0
    for name in NAMES:
        zero, one = (read_registration(tmp_path / str(workers) / f"{name}.npz") for workers in (0, 1))
        assert np.array_equal(zero.points, one.points) and np.array_equal(zero.scores, one.scores)


def test_chosen_scenes_have_a_cache_of_their_own(command: Command, experiment: Path) -> None:
    status, printed, _ = command("test", experiment, "benchmark.scenes=[cellar]", "--test-epoch", 1, "--json")
    assert status == 0
    answer = json.loads(printed)
    assert (answer["pairs"], answer["subset"]) == (1, "test-cellar")
    cache = experiment.parent / "runs" / "tiny" / "cache" / "test-cellar" / "epoch-1"
    assert Path(answer["cache"]) == cache
    assert [path.parent.name for path in cache.glob("*/*.npz")] == ["cellar"]


def test_another_benchmark_than_that_of_the_training(command: Command, experiment: Path) -> None:
    """The zero-shot protocol: `test_on`, with the weights of the run."""
    root = experiment.parent
    (root / "metadata" / "test.jsonl").write_bytes((root / "metadata" / "test-full.jsonl").read_bytes())
    other = f"test_on={{root: {root}, layout: rgbd_scenes_v2, scenes: [attic]}}"
    arguments = ("test", experiment, "benchmark.root=nowhere", other, "--test-epoch", 1)
    status, printed, _ = command(*arguments, "--out", root / "zero-shot", "--json")
    answer = json.loads(printed)
    assert (status, answer["benchmark"], answer["pairs"]) == (0, "rgbd_scenes_v2", 2)


def test_epochs_have_caches_of_their_own_and_eval_finds_them(command: Command, experiment: Path) -> None:
    answers = [json.loads(command("test", experiment, "--test-epoch", n, "--json")[1]) for n in (1, 2)]
    caches = experiment.parent / "runs" / "tiny" / "cache" / "test"
    assert [Path(a["cache"]) for a in answers] == [caches / "epoch-1", caches / "epoch-2"]
    status, printed, _ = command("eval", caches, "--test-epoch", 2, "--json")
    assert status == 0
    found = json.loads(printed)
    assert found["test"]["weights_id"] == answers[1]["weights_id"]
    assert set(found["scenes"]) == {"attic", "cellar"} and found["mean"]["pairs"] == 3
    assert found["protocol"]["depth_only"] is False and found["protocol"]["rmse"] == 0.1
    options = (
        "--protocol",
        "rgbd_scenes_v2",
        "--corrected",
        "--num-corr",
        50,
        "--solver",
        "poselib",
        "--json",
    )
    protocol = json.loads(command("eval", caches / "epoch-2", *options)[1])["protocol"]
    assert (protocol["rmse"], protocol["depth_only"], protocol["num_corr"]) == (0.03, True, 50)


def test_eval_prints_a_table_and_writes_three_files(
    command: Command, experiment: Path, tmp_path: Path
) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    command("test", experiment, "--test-epoch", 1, "--out", cache)
    (cache / f"{NAMES[0]}.npz").unlink()
    status, printed, error = command("eval", cache, "--out", out)
    assert status == 0
    assert "cellar" in printed and "mean" in printed and "RR" in printed
    assert "2 of 3 pairs" in error
    assert {path.name for path in out.iterdir()} == {"eval.json", "eval.md", "report.html"}
    assert len(json.loads((out / "eval.json").read_text())["pair_metrics"]) == 2


def test_the_released_cache_can_be_evaluated(command: Command, golden_dir: Path) -> None:
    status, printed, _ = command("eval", golden_dir / "eval_cache", "--json")
    assert status == 0
    mean = json.loads(printed)["mean"]
    released = json.loads((golden_dir / "eval_py.json").read_text())["summary"]
    assert (mean["rr"], mean["fmr"]) == (released["RR"], released["FMR"])


@pytest.mark.parametrize(
    ("option", "value", "metric"),
    [
        ("acceptance_radius", 0.01, "ir"),
        ("inlier_ratio", 0.5, "fmr"),
        ("rmse", 0.031, "rr"),
        ("rre_deg", 0.6, "rr"),
        ("rte_m", 0.01, "rr"),
        ("iterations", 1, "mean_rre_deg"),
        ("reprojection_px", 3.5, "mean_rre_deg"),
    ],
)
def test_eval_takes_thresholds_and_the_solvers_settings(
    command: Command, golden_dir: Path, option: str, value: float, metric: str
) -> None:
    cache, name = golden_dir / "eval_cache", f"--{option.replace('_', '-')}"
    plain, changed = (
        json.loads(command("eval", cache, *options, "--json")[1]) for options in ((), (name, value))
    )
    assert changed["protocol"][option] == value
    assert changed["mean"][metric] != plain["mean"][metric]
    thresholds = metric != "mean_rre_deg"
    assert changed["protocol"]["name"] == ("custom" if thresholds else "7scenes")
    for other in changed["other_thresholds"]:
        assert (other["protocol"][option] == value) != thresholds


@pytest.mark.slow
def test_the_script_over_epochs(experiment: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPO)}
    arguments = [REPO / "training" / "eval.sh", experiment, "1", "1", "2", f"output={tmp_path}"]
    for epoch in (1, 2):
        weights = experiment.parent / "runs" / "tiny" / f"epoch-{epoch}.safetensors"
        (tmp_path / "tiny").mkdir(exist_ok=True)
        (tmp_path / "tiny" / weights.name).symlink_to(weights)
    done = subprocess.run(
        [*map(str, arguments), "--", "--corrected"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for epoch in (1, 2):
        result = json.loads((tmp_path / f"tiny/cache/test/epoch-{epoch}/eval.json").read_text())
        assert result["protocol"]["depth_only"] is True and f"epoch {epoch}\n" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("test", "CONFIG"), "best.safetensors"),
        (("test", "CONFIG", "--test-epoch", "9"), "epoch-9.safetensors"),
        (("test", "CONFIG", "--test-epoch", "1", "--checkpoint", "x"), "give one"),
        (("test", "CONFIG", "--test-epoch", "1", "--subset", "trainval"), "trainval"),
        (("test", "CONFIG", "--checkpoint", "lite-rgb"), "point_features"),
        (("test", "CONFIG", "--test-epoch", "1", "--format", "npy"), "npy"),
        (("eval", "/nowhere"), "/nowhere"),
        (("eval", "CACHE", "--protocol", "scannet"), "scannet"),
        (("eval", "CACHE", "--solver", "magic"), "magic"),
        (("eval", "CACHE", "--test-epoch", "5"), "epoch-5"),
        (("eval", "CACHE", "--iterations", "3000000000"), "less than or equal to 2147483647"),
        (("eval", "CACHE", "--rmse", "0"), "--rmse 0: input should be greater than 0"),
        (("eval", "CACHE", "--inlier-ratio", "30"), "--inlier-ratio 30"),
        (("eval", "CACHE", "--solver", "poselib", "--iterations", "9"), "only for --solver paper"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    command: Command, experiment: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    names = {"CONFIG": str(experiment), "CACHE": str(tmp_path)}
    status, printed, error = command(*(names.get(a, a) for a in arguments))
    assert (status, printed) == (2, "")
    assert words in error and error.count("\n") == 1


def test_the_caches_in_a_folder_are_named(command: Command, tmp_path: Path) -> None:
    for name in ("epoch-1", "best"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cache.json").write_text("{}")
    _, _, error = command("eval", tmp_path)
    assert f"holds no SCENE/PAIR.npz; give {tmp_path / 'best'}, {tmp_path / 'epoch-1'}\n" in error


def test_a_broken_pair_is_named_also_from_a_worker(
    command: Command, experiment: Path, tmp_path: Path
) -> None:
    cloud = experiment.parent / "data" / "cellar" / "seq-01" / "cloud_000.npy"
    whole = cloud.read_bytes()
    cloud.write_bytes(whole[:100])
    try:
        options = ("--test-epoch", 1, "--workers", 1, "--out", tmp_path)
        status, _, error = command("test", experiment, *options)
    finally:
        cloud.write_bytes(whole)
    assert status == 2 and error.count("\n") == 1 and str(cloud) in error
    assert len(list(tmp_path.glob("*/*.npz"))) == 2
