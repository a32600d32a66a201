"""The papers' metrics: known answers, and the released evaluation number for number."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.benchmark_summary import summarize
from diff2i2p_core.evaluation.cache import read_registration, registration_files
from diff2i2p_core.evaluation.protocol import PROTOCOLS, Protocol, find_protocol, thresholds_words
from diff2i2p_core.evaluation.registration import PairMetrics, Registration, pair_metrics, register
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import z_buffer
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, exp, transform_points
from diff2i2p_core.pairs.pair import make_pair
from diff2i2p_core.weights.checkpoint import load_model

Made = Callable[..., Registration]
RELEASED = PROTOCOLS["7scenes"]


def test_the_released_evaluation_of_every_pair(golden_dir: Path) -> None:
    """PIR, IR, OR, mean distance, pose, RMSE, RRE and RTE of each call that eval.py made, in order."""
    calls = iter(json.loads((golden_dir / "eval_py.json").read_text())["calls"])

    def called(function: str) -> Any:
        call = next(calls)
        assert call["fn"] == function
        return call["out"]

    for path in registration_files(golden_dir / "eval_cache"):
        registration = read_registration(path)
        found = pair_metrics(registration, RELEASED)
        patches = called("evaluate_sparse_correspondences")
        assert found.patch_inlier_ratio == pytest.approx(patches["precision"], abs=1e-12)
        if found.correspondences:
            matches = called("evaluate_correspondences")
            assert (found.inlier_ratio, found.covered_ratio) == (matches["inlier_ratio"], matches["overlap"])
            assert registration.distances().mean() == pytest.approx(matches["distance"], abs=1e-7)
        if found.correspondences < 4:
            assert found.camera_from_cloud is None and not found.registered
            continue
        assert found.camera_from_cloud is not None
        assert np.allclose(found.camera_from_cloud, called("registration_with_pnp_ransac"), atol=1e-12)
        assert found.rmse_m == pytest.approx(called("registration_rmse"), abs=1e-7)
        errors = found.rotation_deg, found.translation_m
        assert errors == pytest.approx(called("isotropic_registration_error"), rel=1e-12)
    assert next(calls, None) is None


def test_the_released_summary(golden_dir: Path) -> None:
    released = json.loads((golden_dir / "eval_py.json").read_text())["summary"]
    files = registration_files(golden_dir / "eval_cache")
    summary = summarize(pair_metrics(read_registration(path), RELEASED) for path in files)
    names = {"PIR": "pir", "FMR": "fmr", "IR": "ir", "RR": "rr", "mean_RRE": "mean_rre_deg"} | {
        "mean_RTE": "mean_rte_m",
        "median_RRE": "median_rre_deg",
        "median_RTE": "median_rte_m",
    }
    for theirs, ours in names.items():
        assert summary.mean[ours] == pytest.approx(released[theirs], rel=1e-12), theirs
    assert {name: row["pairs"] for name, row in summary.scenes.items()} == {"sceneA": 4, "sceneB": 3}
    assert summary.mean["pairs"] == 7


def test_ratios_and_pose_of_known_matches(made: Made) -> None:
    found = pair_metrics(made(), RELEASED)
    assert found.correspondences == 80
    assert found.inlier_ratio == 0.75 and found.matched
    assert found.patch_inlier_ratio == 0.6
    assert found.registered and found.rmse_m < 1e-3
    assert found.rotation_deg < 0.05 and found.translation_m < 1e-3 and found.position_m < 1e-3


@pytest.mark.parametrize("solver", ["paper", "poselib"])
def test_both_solvers_find_the_pose_among_outliers(made: Made, solver: str) -> None:
    protocol = RELEASED.model_copy(update={"solver": solver})
    found = pair_metrics(made(inliers=40, outliers=60), protocol)
    assert found.registered and found.position_m < 2e-3


def test_our_solver_does_without_poselib(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "poselib", None)
    protocol = RELEASED.model_copy(update={"solver": "poselib"})
    found = pair_metrics(made(inliers=40, outliers=60), protocol)
    assert found.registered and found.position_m < 2e-3


def test_each_correction_changes_its_own_number(made: Made) -> None:
    pair = made(inliers=40, outliers=40, depthless=20)
    assert pair_metrics(pair, RELEASED).inlier_ratio == 0.4
    assert pair_metrics(pair, RELEASED.model_copy(update={"depth_only": True})).inlier_ratio == 0.5
    assert pair_metrics(pair, RELEASED.model_copy(update={"patch_overlap": 0.3})).patch_inlier_ratio == 0.3
    corrected = RELEASED.corrected()
    assert (corrected.depth_only, corrected.tuned_cloud, corrected.patch_overlap) == (True, False, 0.3)


def test_pose_errors_decide_where_their_limits_are_given(made: Made) -> None:
    """A pair 1 degree and about 2 cm off: by the RMSE, the rotation, the translation, or both."""
    pair = made()
    error = exp([np.radians(1), 0, 0, 0.02, 0, 0])
    pair = replace(pair, camera_from_cloud=error @ pair.camera_from_cloud)
    found = pair_metrics(pair, RELEASED)
    assert 0.9 < found.rotation_deg < 1.1 and 0 < found.translation_m < 0.2
    far = found.translation_m + 0.01
    for rmse, rre, rte, registered in (
        (1e-6, None, None, False),
        (1e-6, 2.0, None, True),
        (9.0, 0.5, None, False),
        (1e-6, None, far, True),
        (9.0, None, far - 0.02, False),
        (1e-6, 2.0, far, True),
        (9.0, 2.0, far - 0.02, False),
    ):
        protocol = RELEASED.changed(rmse=rmse, rre_deg=rre, rte_m=rte)
        assert pair_metrics(pair, protocol).registered == registered, (rmse, rre, rte)
    assert thresholds_words(RELEASED.changed(rre_deg=5, rte_m=2)).endswith("RRE 5 deg and RTE 2 m)")
    assert not pair_metrics(made(inliers=0, outliers=0), RELEASED.changed(rre_deg=180)).registered


def test_num_corr_keeps_the_best_by_score(made: Made) -> None:
    pair = made()
    order = np.random.default_rng(1).permutation(80)
    names = ("pixels", "points", "pixel_points", "scores", "point_indices")
    shuffled = replace(pair, **{name: getattr(pair, name)[order] for name in names})
    found = pair_metrics(shuffled, RELEASED.model_copy(update={"num_corr": 60}))
    assert (found.correspondences, found.inlier_ratio) == (60, 1.0)


def test_rmse_over_the_tuned_or_the_plain_cloud(made: Made) -> None:
    """A point that tuning moved far away has a long lever arm under a slightly wrong rotation."""
    pair = made(inliers=20, outliers=0)
    wrong_truth = replace(pair, camera_from_cloud=exp([0, 0.001, 0, 0, 0, 0]) @ pair.camera_from_cloud)
    far = wrong_truth.points.copy()
    far[0] = [0, 0, 1e4]
    tuned = replace(wrong_truth, points=far)
    assert pair_metrics(tuned, RELEASED).rmse_m > 0.5
    plain = RELEASED.model_copy(update={"tuned_cloud": False})
    assert pair_metrics(tuned, plain).rmse_m < 0.02
    assert np.array_equal(tuned.tuned_cloud[0], far[0]) and np.array_equal(tuned.plain_cloud, tuned.cloud)


def test_without_matches_nothing_is_found(made: Made) -> None:
    found = pair_metrics(made(inliers=0, outliers=0), RELEASED.corrected())
    assert (found.correspondences, found.inlier_ratio, found.covered_ratio) == (0, 0.0, 0.0)
    assert not found.matched and not found.registered and np.isinf(found.rmse_m)
    assert not pair_metrics(made(inliers=3, outliers=0), RELEASED).registered


@pytest.mark.parametrize("solver", ["paper", "poselib"])
def test_matches_that_are_not_finite_do_not_count(made: Made, solver: str) -> None:
    pair = made()
    points = pair.points.copy()
    points[70:] = np.nan
    protocol = RELEASED.model_copy(update={"solver": solver})
    found = pair_metrics(replace(pair, points=points), protocol)
    assert (found.correspondences, found.inlier_ratio) == (70, 60 / 70)
    assert found.registered


def metrics(name: str, rmse: float, rotation: float, position: float) -> PairMetrics:
    registered = rmse < 0.1
    pose = np.eye(4) if np.isfinite(rmse) else None
    return PairMetrics(
        name, 50, 0.3, 0.2, 0.4, True, pose, rmse, registered, rotation, 2 * position, position
    )


def test_summary_is_the_mean_over_scenes_not_over_pairs() -> None:
    rows = [
        metrics("a/1_1", 0.015, 1.0, 0.01),
        metrics("a/2_1", 0.055, 3.0, 0.03),
        metrics("a/3_1", 0.2, 20.0, 0.4),
        metrics("a/4_1", np.inf, np.inf, np.inf),
        metrics("b/1_1", 0.095, 4.0, 0.06),
        metrics("c/1_1", np.inf, np.inf, np.inf),
    ]
    summary = summarize(rows)
    a, mean = summary.scenes["a"], summary.mean
    assert (a["rr"], a["rr_02cm"], a["rr_05cm"], a["rr_06cm"], a["rr_10cm"]) == (0.5, 0.25, 0.25, 0.5, 0.5)
    assert mean["rr"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert (a["mean_rre_deg"], a["mean_rte_m"]) == (2.0, 0.04)
    assert (a["median_position_m"], a["median_rotation_deg"]) == (pytest.approx(0.215), pytest.approx(11.5))
    assert (a["recall_005m_5deg"], mean["recall_005m_5deg"]) == (0.5, pytest.approx(0.5 / 3))
    assert (a["pmr_00"], a["pmr_10"], a["pmr_30"], a["pmr_50"]) == (1, 1, 1, 0)
    assert mean["mean_rre_deg"] == 3.0  # scene c has no registered pair
    # Over all pairs with a pose, also those that are not registered.
    assert (a["mean_rre_all_deg"], a["mean_rte_all_m"]) == (8.0, pytest.approx(0.88 / 3))
    assert np.isnan(summary.scenes["c"]["mean_rre_all_deg"])
    as_json = summary.as_json()
    assert as_json["scenes"]["c"]["mean_rre_deg"] is None and as_json["mean"]["median_position_m"] is None
    json.dumps(as_json, allow_nan=False)


def test_protocols_and_their_names() -> None:
    v2 = find_protocol("rgbd_scenes_v2")
    assert (v2.acceptance_radius, v2.inlier_ratio, v2.rmse) == (0.025, 0.25, 0.03)
    assert (RELEASED.acceptance_radius, RELEASED.inlier_ratio, RELEASED.rmse) == (0.05, 0.1, 0.1)
    with pytest.raises(InputError, match=r"'scannet'.*7scenes"):
        find_protocol("scannet")
    with pytest.raises(ValueError):
        Protocol(num_corr=3)


def test_register_says_what_the_network_found_and_what_is_true(
    tiny_weights: Path, room_cloud: PointCloud
) -> None:
    camera = Camera(160, 120, 131.0, 131.0, 79.5, 59.5)
    camera_from_cloud = compose(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), [-2, 1.2, -0.5])
    points = room_cloud.points
    depth = z_buffer(transform_points(camera_from_cloud, points), camera)
    rgb = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    model = load_model(tiny_weights)
    kept = np.random.default_rng(1).permutation(len(points))[:4000]
    pair = make_pair(
        rgb,
        depth,
        camera,
        room_cloud.take(kept),
        camera_from_cloud,
        model.config,
        index=0,
        name="room/0_0",
    )
    assert pair is not None
    found = register(model, pair)
    assert len(found.scores) > 0
    known = found.pixel_points[:, 2] > 0
    assert known.any() and not found.pixel_points[~known].any()
    assert np.allclose(camera.project(found.pixel_points[known])[0], found.pixels[known], atol=1e-3)
    assert np.array_equal(found.points, points[kept][found.point_indices])  # no tuning
    assert np.array_equal(found.tuned_cloud, points[kept])
    assert found.image is not None and found.image.shape == (120, 160, 3)
    assert found.true_overlaps.min() > 0 and found.true_overlaps.max() <= 1
    assert pair_metrics(found, RELEASED).name == "room/0_0"
    truth = replace(found, image_nodes=found.true_image_nodes, point_nodes=found.true_point_nodes)
    assert pair_metrics(truth, RELEASED).patch_inlier_ratio == 1
