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
from diff2i2p_core.evaluation.cache import CacheInfo, read_registration, registration_path, write_registration
from diff2i2p_core.evaluation.comparison import comparison_notes, comparisons
from diff2i2p_core.evaluation.protocol import PROTOCOLS, Protocol
from diff2i2p_core.evaluation.registration import PairMetrics, Registration, pair_metrics
from diff2i2p_core.evaluation.result import evaluate_folder
from diff2i2p_core.reports.benchmark_report import pair_figures, write_benchmark_report
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


def info_of(benchmark: str, query_depth: bool | None, pairs: int = 9) -> CacheInfo:
    return CacheInfo(
        weights="<w>",
        weights_id="ab" * 32,
        model="m",
        benchmark=benchmark,
        subset="test",
        pairs=pairs,
        query_depth=query_depth,
    )


def test_pairs_are_measured_in_the_files_order_on_any_number_of_threads(folder: Path) -> None:
    counts: list[tuple[int, int]] = []
    two = evaluate_folder(folder, RELEASED, 2, lambda done, total: counts.append((done, total)))[0].metrics
    one = evaluate_folder(folder, RELEASED, 1)[0].metrics
    assert [m.name for m in two] == ["office/1_1", "office/2_1", "office/3_1", "stairs/1_1"]
    assert [benchmark.pair_json(m) for m in one] == [benchmark.pair_json(m) for m in two]
    assert counts == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [m.inlier_ratio for m in two] == [1.0, 0.75, 0.375, 0.0]


def test_both_benchmarks_thresholds_are_always_measured(folder: Path) -> None:
    """The result at other thresholds is that of their own protocol with the same solver and rules."""
    for main in (RELEASED.corrected(), PROTOCOLS["rgbd_scenes_v2"]):
        results = evaluate_folder(folder, main, 1)
        assert {result.protocol.name for result in results} == {"7scenes", "rgbd_scenes_v2"}
        assert results[0].protocol == main
        for result in results:
            assert result.protocol.depth_only == main.depth_only
            files = sorted(folder.glob("*/*.npz"))
            alone = [pair_metrics(read_registration(path), result.protocol) for path in files]
            assert [benchmark.pair_json(m) for m in result.metrics] == [benchmark.pair_json(m) for m in alone]
    own = RELEASED.changed(rmse=0.05)
    assert [r.protocol.name for r in evaluate_folder(folder, own, 1)] == [
        "custom",
        "7scenes",
        "rgbd_scenes_v2",
    ]
    assert RELEASED.changed(acceptance_radius=0.025, inlier_ratio=0.25, rmse=0.03).name == "rgbd_scenes_v2"


def test_a_broken_file_is_named(folder: Path) -> None:
    (folder / "office" / "2_1.npz").write_bytes(b"PK\x03\x04 not all of it")
    with pytest.raises(InputError, match=r"office/2_1\.npz"):
        evaluate_folder(folder, RELEASED, 2)


def test_json_holds_protocols_scenes_mean_and_every_pair(folder: Path) -> None:
    results = evaluate_folder(folder, RELEASED, 1)
    content = benchmark.as_json(folder, None, results)
    benchmark.write_json(folder / "out" / "eval.json", content, results[0].metrics)
    read = json.loads((folder / "out" / "eval.json").read_text())
    assert read["mean"]["rr"] == 0.5 and read["scenes"]["stairs"]["mean_rre_deg"] is None
    assert read["protocol"]["rmse"] == 0.1 and read["test"] is None
    assert [pair["rmse_m"] is None for pair in read["pair_metrics"]] == [False, False, False, True]
    (other,) = read["other_thresholds"]
    assert other["protocol"]["rmse"] == 0.03 and set(other["scenes"]) == {"office", "stairs"}
    assert read["mean"]["peak_mib"] is None and read["pair_metrics"][0]["network_s"] is None


def test_markdown_stands_beside_the_published_rows_of_its_benchmark(folder: Path) -> None:
    results = evaluate_folder(folder, RELEASED, 1)
    path = folder / "eval.md"
    benchmark.write_markdown(path, "Title", results, info_of("7scenes", True))
    lines = path.read_text().splitlines()
    assert any(line.startswith("| mean | 4 |") for line in lines)
    assert "| this run | 35.4 | 50.0 | 50.0 | measured |" in lines
    assert "| Diff2I2P | 53.2 | 92.2 | 83.0 | ICCV 2025, arXiv 2507.06651 |" in lines
    assert not any("FreeReg" in line for line in lines)
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables} == {14, 11, 6}


def test_published_rows_stand_only_beside_their_own_thresholds_and_queries(folder: Path) -> None:
    def tables(main: Protocol, query_depth: bool | None) -> dict[str, dict[str, list[str]]]:
        made = comparisons(evaluate_folder(folder, main, 1), info_of("rgbd_scenes_v2", query_depth))
        return {heading: {row[0] + row[3]: row for row in rows} for heading, rows in made}

    strict = PROTOCOLS["rgbd_scenes_v2"]
    found = tables(strict, True)
    assert [heading.split(" thresholds")[0] for heading in found] == ["rgbd_scenes_v2", "7scenes", "7scenes"]
    with_depth, common, common_depth = found.values()
    assert list(with_depth) == ["this run50.0", "Diff2I2P60.5", "Diff2I2P63.2"]
    assert "issue 4" in with_depth["Diff2I2P63.2"][4]
    assert list(common_depth) == ["this run50.0", "Diff2I2P98.8"]
    assert {"2D3D-MATR56.4", "UniCorrn92.5", "GRIP84.6", "M23D24.3"} <= common.keys()
    assert not any(name.startswith(("Diff2I2P", "this run")) for name in common)
    # A query without depth stands with its kind, and one of an unknown kind in every table.
    assert [next(iter(rows.values()))[0] == "this run" for rows in tables(strict, False).values()] == [
        True,
        False,
        True,
        False,
    ]
    for rows in tables(strict, None).values():
        assert "query depth not recorded" in next(iter(rows.values()))[4]
    # Nobody has published results at other thresholds; another solver is said.
    heading, rows = next(iter(tables(strict.changed(rmse=0.02, solver="poselib"), True).items()))
    assert heading.startswith("custom thresholds (inlier 0.025 m, FMR 0.25, RMSE 0.02 m)")
    assert [row[4] for row in rows.values()] == ["measured, solver poselib"]


def test_notes_say_when_the_pairs_are_not_those_of_the_papers(folder: Path) -> None:
    results = evaluate_folder(folder, RELEASED, 1)
    notes = " ".join(comparison_notes(results, info_of("7scenes", True)))
    assert "over the 2304 pairs of the authors' data, this run is over 4 pairs" in notes
    assert "stairs 28.4" in notes and "ms a pair" not in notes
    assert "1748 pairs" in " ".join(
        comparison_notes(results, info_of("rgbd_scenes_v2", True).model_copy(update={"subset": "train"}))
    )


def test_published_rows_do_not_stand_beside_pairs_of_our_own(folder: Path) -> None:
    results = evaluate_folder(folder, RELEASED, 1)
    info = info_of("7scenes", True).model_copy(update={"prepared": True})
    assert {row[0] for _, rows in comparisons(results, info) for row in rows} == {"this run"}
    assert comparison_notes(results, info) == [
        "`diff2i2p prepare` made these pairs: they are not those of the papers."
    ]


def test_time_and_memory_of_the_network_are_reported(made: Made, tmp_path: Path) -> None:
    for name, seconds, peak in (("a/1_1", 0.1, 300.0), ("a/2_1", 0.3, 500.0), ("b/1_1", 0.2, 400.0)):
        registration = replace(made(name=name), seconds=seconds, peak_mib=peak)
        write_registration(registration, registration_path(tmp_path, name))
    results = evaluate_folder(tmp_path, RELEASED, 1)
    summary = results[0].summary
    assert (summary.mean["median_network_s"], summary.mean["peak_mib"]) == (0.2, 500.0)
    assert summary.scenes["a"]["median_network_s"] == pytest.approx(0.2)
    assert summary.resources_words() == "network: 200 ms a pair (median), at most 500 MiB"
    assert "2D3D-MATR 127 ms" in " ".join(comparison_notes(results, None))
    assert benchmark.pair_json(results[0].metrics[1])["network_s"] == 0.3


def test_the_report_is_one_well_formed_page_with_three_pairs(folder: Path) -> None:
    results = evaluate_folder(folder, RELEASED, 1)
    path = folder / "report.html"
    write_benchmark_report(path, folder, info_of("7scenes", True), results)
    text = path.read_text()
    parser = Balance()
    parser.feed(text)
    assert parser.open == [] and parser.images == 9
    assert "http" not in text and "&lt;w&gt;" in text and "4 of 9 pairs" in text
    assert ">inf" not in text and ">nan" not in text
    assert "rgbd_scenes_v2 thresholds (inlier 0.025 m" in text


def test_best_median_and_worst_are_ranked_by_rmse(folder: Path) -> None:
    metrics = evaluate_folder(folder, RELEASED, 1)[0].metrics
    ranked = sorted(metrics, key=lambda m: m.rmse_m)
    captions = [figure.caption for figure in pair_figures(folder, metrics, RELEASED)]
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
