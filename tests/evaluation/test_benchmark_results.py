"""A folder of registrations measured: tables, JSON, Markdown, the HTML page and its pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from html_page import Balance

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation import benchmark
from diff2i2p_core.evaluation.cache import CacheInfo, registration_path, write_registration
from diff2i2p_core.evaluation.protocol import PROTOCOLS
from diff2i2p_core.evaluation.registration import PairMetrics, Registration, pair_metrics, summarize
from diff2i2p_core.reports.benchmark_report import panels, write_benchmark_report
from diff2i2p_core.reports.pair_pictures import RIGHT, WRONG, pair_panel
from diff2i2p_core.reports.plots import histogram

Made = Callable[..., Registration]
RELEASED = PROTOCOLS["7scenes"]


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    """Two scenes: three pairs of falling quality, and one without a pose."""
    for name, inliers in (("office/1_1", 80), ("office/2_1", 60), ("office/3_1", 30), ("stairs/1_1", 0)):
        count = 80 if inliers else 3
        registration = made(inliers=inliers, outliers=count - inliers, name=name)
        write_registration(registration, registration_path(tmp_path, name))
    return tmp_path


def test_pairs_are_measured_in_the_files_order_on_any_number_of_threads(folder: Path) -> None:
    counts: list[tuple[int, int]] = []
    two = benchmark.evaluate_folder(folder, RELEASED, 2, lambda done, total: counts.append((done, total)))
    one = benchmark.evaluate_folder(folder, RELEASED, 1)
    assert [m.name for m in two] == ["office/1_1", "office/2_1", "office/3_1", "stairs/1_1"]
    assert [benchmark.pair_json(m) for m in one] == [benchmark.pair_json(m) for m in two]
    assert counts == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [m.inlier_ratio for m in two] == [1.0, 0.75, 0.375, 0.0]


def test_a_broken_file_is_named(folder: Path) -> None:
    (folder / "office" / "2_1.npz").write_bytes(b"PK\x03\x04 not all of it")
    with pytest.raises(InputError, match=r"office/2_1\.npz"):
        benchmark.evaluate_folder(folder, RELEASED, 2)


def test_json_holds_protocol_scenes_mean_and_every_pair(folder: Path) -> None:
    metrics = benchmark.evaluate_folder(folder, RELEASED, 1)
    content = benchmark.as_json(folder, None, RELEASED, summarize(metrics))
    benchmark.write_json(folder / "out" / "eval.json", content, metrics)
    read = json.loads((folder / "out" / "eval.json").read_text())
    assert read["mean"]["rr"] == 0.5 and read["scenes"]["stairs"]["mean_rre_deg"] is None
    assert read["protocol"]["rmse"] == 0.1 and read["test"] is None
    assert [pair["rmse_m"] is None for pair in read["pair_metrics"]] == [False, False, False, True]


def test_markdown_stands_beside_the_published_rows_of_its_benchmark(folder: Path) -> None:
    summary = summarize(benchmark.evaluate_folder(folder, RELEASED, 1))
    path = folder / "eval.md"
    benchmark.write_markdown(path, "Title", RELEASED, summary, "7scenes")
    lines = path.read_text().splitlines()
    assert any(line.startswith("| mean | 4 |") for line in lines)
    assert "| this run | 35.4 | 50.0 | 50.0 | measured |" in lines
    assert "| Diff2I2P | 53.2 | 92.2 | 83.0 | ICCV 2025, arXiv 2507.06651 |" in lines
    assert not any("FreeReg" in line for line in lines)
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables} == {14, 11, 6}
    benchmark.write_markdown(path, "Title", RELEASED, summary, "rgbd_scenes_v2")
    assert "| Diff2I2P | 36.9 | 77.1 | 60.5 |" in path.read_text()


def test_the_report_is_one_well_formed_page_with_three_pairs(folder: Path) -> None:
    metrics = benchmark.evaluate_folder(folder, RELEASED, 1)
    info = CacheInfo(
        weights="<w>", weights_id="ab" * 32, model="m", benchmark="7scenes", subset="test", pairs=9
    )
    path = folder / "report.html"
    write_benchmark_report(path, folder, info, RELEASED, metrics, summarize(metrics))
    text = path.read_text()
    parser = Balance()
    parser.feed(text)
    assert parser.open == [] and parser.images == 3
    assert "http" not in text and "&lt;w&gt;" in text and "4 of 9 pairs" in text
    assert ">inf" not in text and ">nan" not in text


def test_best_median_and_worst_are_ranked_by_rmse(folder: Path) -> None:
    metrics = benchmark.evaluate_folder(folder, RELEASED, 1)
    ranked = sorted(metrics, key=lambda m: m.rmse_m)
    captions = [caption for caption, _ in panels(folder, metrics, RELEASED)]
    assert [caption.split(",")[0] for caption in captions] == [
        f"best: {ranked[0].name}",
        f"median: {ranked[1].name}",
        "worst: stairs/1_1",
    ]
    assert "no pose" in captions[2]


def close(picture: np.ndarray, at: tuple[float, float], color: tuple[int, int, int]) -> bool:
    u, v = round(at[0]), round(at[1])
    return bool(np.abs(picture[v, u].astype(int) - color).max() < 30)


def test_matches_are_coloured_by_whether_they_are_right(made: Made) -> None:
    pair = made(inliers=1, outliers=1)
    pixels = np.array([[100, 100], [500, 300]], np.float32)
    image = np.full((480, 640, 3), 90, np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].ravel()
    pair = replace(pair, pixels=pixels, jpeg=jpeg)
    picture = pair_panel(pair, pair_metrics(pair, RELEASED), RELEASED, "caption")
    assert picture.shape == (24 + 360 + 28, 3 * 480, 3)
    assert close(picture[24:], (75, 75), RIGHT) and close(picture[24:], (375, 225), WRONG)


def test_histogram_bars_are_fractions_of_all_pairs() -> None:
    svg = histogram([0.02, 0.03, 0.12, 1.0], "Ratio", 0.1)
    assert svg.count("<rect") == 20 and svg.count('height="170.0"') == 1
    assert svg.count('height="85.0"') == 2 and "50% ≥ 10%" in svg


def test_metrics_without_a_pose_are_json() -> None:
    inf = np.inf
    pair = PairMetrics("a/1_1", 3, 0.1, 0.0, 0.0, False, None, inf, False, inf, inf, inf)
    assert json.dumps(benchmark.pair_json(pair), allow_nan=False)
