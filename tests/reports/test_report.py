"""The HTML report: self-contained, well-formed, with the numbers in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from html_page import Balance

from diff2i2p_core.evaluation.summary import summarize
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.reports.page import Figure
from diff2i2p_core.reports.plots import cumulative_curve, grade
from diff2i2p_core.reports.report import headline, pick_frames, write_report


def results() -> list[QueryResult]:
    truth = [exp([0, 0.1 * i, 0, 0.2 * i, 0, 1]) for i in range(5)]
    offsets = [0.01, 0.2, 0.7, None, 0.04]
    made = []
    for i, (pose, offset) in enumerate(zip(truth, offsets, strict=True)):
        estimate = None if offset is None else exp([0, 0, 0, offset, 0, 0]) @ pose
        made.append(QueryResult(600 + i, i / 30, pose, estimate, "<too few> & unlikely", 50, 0.4, 200.0))
    return made


def test_grades_and_picked_frames() -> None:
    assert [grade(r) for r in results()] == ["good", "fair", "poor", "none", "good"]
    picked = [(caption.split(":")[0], r.number) for caption, r in pick_frames(results())]
    assert picked == [
        ("best of the localized", 600),
        ("median of the localized", 604),
        ("worst of the localized", 602),
        ("frame 603", 603),
    ]
    assert len(pick_frames(results()[:1])) == 1
    without_truth = [replace(r, true_map_from_camera=None, num_inliers=10 * r.number) for r in results()]
    assert [r.number for _, r in pick_frames(without_truth)] == [604, 602, 600, 603]


def test_the_curve_ends_at_the_fraction_within_its_limit() -> None:
    svg = cumulative_curve([1.0, 2.0, 3.0, None], 10, "cm", "Error", [2])
    points = re.search(r'<polyline points="([^"]+)"', svg)
    assert points is not None
    ys = [float(pair.split(",")[1]) for pair in points.group(1).split()]
    assert ys[0] == max(ys) and ys == sorted(ys, reverse=True)
    bottom, top = ys[0], 26.0
    assert np.isclose((bottom - ys[-1]) / (bottom - top), 0.75, atol=0.01)
    assert "50% ≤ 2 cm" in svg


LABEL = r'<text x="([\d.]+)" y="([\d.]+)" class="tick">(\d+% ≤ [^<]+)</text>'


@pytest.mark.parametrize("error", [1.0, 30.0])
@pytest.mark.parametrize(("marks", "limit"), [((5, 10, 25), 50), ((5, 10), 25), ((8, 9, 9.5), 10)])
def test_the_labels_of_a_curve_do_not_cover_each_other(
    error: float, marks: tuple[float, ...], limit: float
) -> None:
    svg = cumulative_curve([1.0] + [error] * 9, limit, "cm", "Position error", marks)
    boxes = [(float(x), float(y), 6.0 * len(text)) for x, y, text in re.findall(LABEL, svg)]
    assert len(boxes) == len(marks)
    for number, (x, y, width) in enumerate(boxes):
        assert x >= 0 and x + width <= 360 and 10 < y < 200
        for other_x, other_y, other_width in boxes[:number]:
            apart = abs(y - other_y) >= 12 or x >= other_x + other_width or other_x >= x + width
            assert apart, svg


def test_report_is_one_well_formed_file_without_outside_resources(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    points = np.random.default_rng(0).uniform(-2, 2, (3000, 3)).astype(np.float32)
    parts = [("image", np.full((40, 60, 3), 90, np.uint8)), ("map", np.full((40, 60, 3), 9, np.uint8))]
    made = results()
    write_report(path, "A <demo>", {"map": "a&b"}, made, summarize(made), points, [Figure("best <b>", parts)])
    text = path.read_text(encoding="utf-8")
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert (
        len(parser.links) == 3
        and parser.images == 2
        and all(link.startswith("data:image/") for link in parser.links)
    )
    assert "http" not in text
    assert "A &lt;demo&gt;" in text and "&lt;too few&gt; &amp; unlikely" in text
    assert "best &lt;b&gt;" in text and "4 / 5" in text and "prefers-color-scheme" in text


def test_headline_without_any_pose() -> None:
    made = results()[3:4]
    assert headline(summarize(made)) == "None of 1 images was localized."
