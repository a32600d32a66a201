"""What `test` writes and reports: time and memory, released files, several processes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from in_process import Command
from small_benchmark import MATCHING, NAMES

from diff2i2p_core.evaluation.cache import read_registration
from diff2i2p_core.models.released import released_config
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs, BenchmarkSettings
from diff2i2p_core.pairs.neighbor_limits import calibrate_neighbor_limits, measured_limits

REPO = Path(__file__).resolve().parents[2]


def test_time_and_memory_are_reported_by_test_and_by_eval(
    command: Command, experiment: Path, tmp_path: Path
) -> None:
    arguments = ("test", experiment, "--test-epoch", 1, "--out", tmp_path)
    answer = json.loads(command(*arguments, "--json")[1])
    assert 0 < answer["network_ms"]["median"] <= answer["network_ms"]["95%"]
    assert answer["peak_mib"] > 100
    assert (answer["query_depth"], answer["prepared"]) == (False, False)
    again = json.loads(command(*arguments, "--json")[1])
    assert (again["registered"], again["network_ms"]) == (0, None)
    (tmp_path / f"{NAMES[0]}.npz").unlink()
    assert "network: " in (printed := command(*arguments)[1]) and "ms a pair (median" in printed
    mean = json.loads(command("eval", tmp_path, "--json")[1])["mean"]
    assert mean["median_network_s"] > 0 and mean["peak_mib"] > 100
    assert "network: " in command("eval", tmp_path)[1]


def test_released_files_give_the_same_results(command: Command, experiment: Path, tmp_path: Path) -> None:
    results = {}
    for name in ("diff2i2p", "released"):
        out = tmp_path / name
        status, _, error = command(
            "test", experiment, "--test-epoch", MATCHING, "--format", name, "--out", out
        )
        assert status == 0, error
        results[name] = json.loads(command("eval", out, "--json")[1])["mean"]
    ours, released = results["diff2i2p"], results["released"]
    assert ours["correspondences"] > 4 and ours["pir"] > 0
    for key in ("pir", "ir", "or", "fmr", "rr", "mean_rre_deg", "median_position_m", "correspondences"):
        assert released[key] == (None if ours[key] is None else pytest.approx(ours[key], abs=1e-6)), key
    assert (
        "format is different"
        in command("test", experiment, "--test-epoch", MATCHING, "--out", tmp_path / "released")[2]
    )


def test_released_files_have_the_released_names_and_shapes(
    command: Command, experiment: Path, golden_dir: Path, tmp_path: Path
) -> None:
    command("test", experiment, "--test-epoch", MATCHING, "--format", "released", "--out", tmp_path)
    golden = golden_dir / "eval_cache" / "sceneA" / "01-000477_01-000525.npz"
    with np.load(golden) as theirs, np.load(tmp_path / f"{NAMES[0]}.npz") as own:
        assert set(own.files) == set(theirs.files)
        for name in theirs.files:
            assert own[name].ndim == theirs[name].ndim, name
            assert own[name].dtype.kind == theirs[name].dtype.kind, name
        levels, nodes = own["img_node_corr_levels"], own["img_node_corr_indices"]
        rows, columns = 48 // 8, 64 // 8
        first = rows * columns
        assert np.array_equal(levels == 0, nodes < first) and own["img_num_nodes"] > first
        assert own["image_file"] == "attic/seq-01/color_000.png" and own["overlap"] == 0.9
        # A matched point is seen where the true pose puts it.
        seen = own["pcd_corr_points"] @ own["transform"][:3, :3].T + own["transform"][:3, 3]
        uvd = seen @ own["intrinsics"].T
        np.testing.assert_allclose(own["pcd_corr_pixels"], (uvd[:, :2] / uvd[:, 2:])[:, ::-1], atol=1e-3)


def test_a_released_checkpoint_gets_the_neighbour_limits_of_the_tested_data(
    command: Command, experiment: Path, golden_dir: Path, tmp_path: Path
) -> None:
    arguments = ("test", experiment, "--checkpoint", golden_dir / "state_dict_fp16.pth", "--json")
    status, printed, error = command(*arguments, "--out", tmp_path / "a")
    assert status == 0, error
    answer = json.loads(printed)
    pairs = BenchmarkPairs(BenchmarkSettings(root=experiment.parent), released_config(), "test")
    limits = list(calibrate_neighbor_limits(pairs, 0.025))
    assert answer["config"]["points"]["neighbor_limits"] == limits != [51, 42, 41, 40]
    assert f"neighbour limits {limits}, from the subset 'test'" in error and answer["query_depth"] is True
    (tmp_path / "a" / f"{NAMES[0]}.npz").unlink()
    assert "from the test so far" in command(*arguments, "--out", tmp_path / "a")[2]
    three = ("model.preset=lite", "model.replace.points.neighbor_limits=[9, 8, 7]")
    assert (
        "does not fit this network (3 neighbor_limits, but 4 levels)"
        in command(*arguments[:2], *three, *arguments[2:], "--out", tmp_path / "c")[2]
    )
    # Other settings of the network are another test.
    replaced = ("model.replace.points.neighbor_limits=[9, 8, 7, 6]", "model.replace.matching.coarse_top_k=1")
    assert (
        "config is different"
        in command(*arguments[:2], *replaced, *arguments[2:], "--out", tmp_path / "a")[2]
    )
    status, printed, error = command(*arguments[:2], *replaced, *arguments[2:], "--out", tmp_path / "b")
    config = json.loads(printed)["config"]
    assert (config["points"]["neighbor_limits"], config["matching"]["coarse_top_k"]) == ([9, 8, 7, 6], 1)
    assert "neighbour limits" not in error
    for name in NAMES:
        measured, given = (read_registration(tmp_path / x / f"{name}.npz") for x in "ab")
        assert not np.array_equal(measured.scores, given.scores)


def test_limits_are_those_of_the_training_subset_where_there_is_one(experiment: Path, tmp_path: Path) -> None:
    shutil.copytree(experiment.parent, tmp_path, dirs_exist_ok=True)
    lines = (tmp_path / "metadata" / "test-full.jsonl").read_text()
    (tmp_path / "metadata" / "train-full.jsonl").write_text(lines)
    settings = BenchmarkSettings(root=tmp_path)
    limits, where = measured_limits(settings, released_config(), 0)
    assert where == "the subset 'train'"
    training = BenchmarkPairs(settings, released_config(), "train", seed=0)
    assert limits == calibrate_neighbor_limits(training, 0.025)


@pytest.mark.parametrize(
    "replaced",
    [
        ["model.replace.matching.coarse_top_k=1"],
        # The weights have three levels.
        ["model.replace.points.levels=2", "model.replace.points.neighbor_limits=[9, 8]"],
    ],
)
def test_weights_with_a_configuration_keep_it(
    command: Command, experiment: Path, tmp_path: Path, replaced: list[str]
) -> None:
    arguments = ("test", experiment, *replaced, "--test-epoch", 1, "--out", tmp_path, "--json")
    status, printed, error = command(*arguments)
    assert status == 0 and json.loads(printed)["config"] is None
    assert "has its own configuration, so model.replace is not used" in error


@pytest.mark.slow
def test_several_processes_share_a_test(experiment: Path, command: Command, tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert command("test", experiment, "--test-epoch", 1, "--out", alone)[0] == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    options = ("--test-epoch", "1", "--device", "cpu", "--out", str(shared), "--json")
    processes = [
        subprocess.Popen(
            [sys.executable, str(REPO / "training" / "test.py"), str(experiment), *options],
            env={**os.environ, "PYTHONPATH": str(REPO), **rendezvous, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        outputs = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    answer = json.loads(outputs[0][0])
    assert answer["registered"] == 3 and answer["network_ms"]["median"] > 0
    assert outputs[1] == ("", "")  # the second process says nothing
    for name in NAMES:
        one, two = (read_registration(folder / f"{name}.npz") for folder in (alone, shared))
        assert np.array_equal(one.points, two.points) and np.array_equal(one.scores, two.scores)
