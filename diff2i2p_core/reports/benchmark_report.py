"""The HTML report of a benchmark: metrics, plots, and pictures of the best, median and worst pairs."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diff2i2p_core.evaluation.benchmark import (
    COLUMNS,
    ERRORS_NOTE,
    protocol_words,
    table_rows,
)
from diff2i2p_core.evaluation.cache import CacheInfo, read_registration, registration_path
from diff2i2p_core.evaluation.comparison import COMPARISON_HEAD, comparison_notes, comparisons
from diff2i2p_core.evaluation.protocol import Protocol, registered_words
from diff2i2p_core.evaluation.registration import PairMetrics
from diff2i2p_core.evaluation.result import Result
from diff2i2p_core.reports.page import (
    Figure,
    about_card,
    best_median_worst,
    figures,
    plain_table,
    tiles,
    write_page,
)
from diff2i2p_core.reports.pair_pictures import pair_parts
from diff2i2p_core.reports.plots import cumulative_curve, histogram


def write_benchmark_report(
    path: Path,
    folder: Path,
    info: CacheInfo | None,
    results: Sequence[Result],
) -> None:
    """Write the report of `results` (of one or more pairs) for the registrations in `folder`."""
    protocol, metrics, summary = results[0].protocol, results[0].metrics, results[0].summary
    title = f"Registration of {len(metrics)} pairs: {folder}"
    mean = summary.mean
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(protocol_words(protocol))}. Values are unweighted means over scenes.</p>",
        tiles(
            [
                (f"{mean['rr']:.1%}", f"registration recall (below {registered_words(protocol.thresholds)})"),
                (f"{mean['ir']:.1%}", "inlier ratio"),
                (f"{mean['fmr']:.1%}", "feature matching recall"),
                (f"{mean['pir']:.1%}", "patch inlier ratio"),
                (f"{mean['recall_005m_5deg']:.1%}", "within 5 cm and 5°"),
                (_centimetres(mean["median_position_m"]), "median position error, all pairs"),
                (_number(mean["median_rotation_deg"], "°"), "median rotation error, all pairs"),
                (f"{mean['correspondences']:.0f}", "matches per pair"),
            ]
        ),
        f"<h2>Scenes</h2><p>{ERRORS_NOTE}</p>",
        plain_table(
            ["scene", *(c.heading for c in COLUMNS)], [[n, *cells] for n, cells in table_rows(summary)]
        ),
        "<h2>Distributions</h2><p>Over all pairs of all scenes. Pairs without a pose count as never "
        "reached.</p>",
        _plots(metrics, protocol),
        "<h2>Pairs</h2><p>Sorted by RMSE. Left: matched pixels; for the best matches by score, a line leads "
        "to the true position of the matched point. At the right pose, the cloud's points are on the objects "
        "that they belong to.</p>",
        *figures(pair_figures(folder, metrics, protocol)),
        "<h2>Comparison with published results</h2>",
        *(f"<p>{html.escape(note)}</p>" for note in comparison_notes(results, info)),
        *(
            f"<h3>{html.escape(heading)}</h3>{plain_table(COMPARISON_HEAD, rows)}"
            for heading, rows in comparisons(results, info)
        ),
        "<h2>The run</h2>",
        about_card({"cache": str(folder), **({} if info is None else _about(info, len(metrics)))}),
    ]
    write_page(path, title, sections)


def pair_figures(folder: Path, metrics: Sequence[PairMetrics], protocol: Protocol) -> list[Figure]:
    """Pictures of the best, the median and the worst pair."""
    made = []
    for word, pair in best_median_worst(sorted(metrics, key=lambda m: m.rmse_m)):
        pose = (
            f"RMSE {100 * pair.rmse_m:.1f} cm, camera {100 * pair.position_m:.1f} cm and "
            f"{pair.rotation_deg:.2f} deg off"
            if pair.camera_from_cloud is not None
            else "no pose"
        )
        caption = (
            f"{word}: {pair.name}, {pose}; {pair.inlier_ratio:.0%} of {pair.correspondences} matches right"
        )
        registration = read_registration(registration_path(folder, pair.name))
        made.append(Figure(caption, pair_parts(registration, pair, protocol)))
    return made


def _plots(metrics: Sequence[PairMetrics], protocol: Protocol) -> str:
    def known(values: list[float], factor: float) -> list[float | None]:
        return [factor * v if np.isfinite(v) else None for v in values]

    plots = (
        cumulative_curve(
            known([m.rmse_m for m in metrics], 100), 15, "cm", "Registration recall over RMSE", (3, 5, 10)
        ),
        histogram([m.inlier_ratio for m in metrics], "Inlier ratio", protocol.inlier_ratio),
        cumulative_curve(known([m.position_m for m in metrics], 100), 25, "cm", "Position error", (5, 10)),
        cumulative_curve(known([m.rotation_deg for m in metrics], 1), 10, "deg", "Rotation error", (2, 5)),
    )
    return '<div class="plots">' + "".join(f'<div class="card">{plot}</div>' for plot in plots) + "</div>"


def _about(info: CacheInfo, count: int) -> dict[str, str]:
    return {
        "weights": f"{info.weights} ({info.weights_id[:12]}), {info.model}",
        "benchmark": f"{info.benchmark}, {info.subset}: {count} of {info.pairs} pairs",
    }


def _centimetres(metres: float) -> str:
    return _number(100 * metres, " cm", 1)


def _number(value: float, unit: str, digits: int = 2) -> str:
    return f"{value:.{digits}f}{unit}" if np.isfinite(value) else "–"
