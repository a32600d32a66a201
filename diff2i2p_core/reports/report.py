"""The HTML report of a localization run."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.evaluation.localize_rig_frames import CameraResult
from diff2i2p_core.evaluation.summary import RECALL_LIMITS, Summary, WithinSigmas
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.reports.page import (
    Figure,
    about_card,
    amount,
    best_median_worst,
    figures,
    percent,
    plain_table,
    tiles,
    write_page,
)
from diff2i2p_core.reports.plots import GRADES, cumulative_curve, describe, grade, top_view


def write_report(
    path: Path | str,
    title: str,
    about: dict[str, str],
    results: Sequence[QueryResult],
    summary: Summary,
    map_points: NDArray[np.float32],
    shown: Sequence[Figure] = (),
    cameras: Mapping[str, CameraResult] | None = None,
) -> None:
    """Write the report of `results` (one or more) with their `summary`.

    `about` has labels and values that describe the run. `shown` are pictures of single frames. `cameras` are
    those of a rig.
    """
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(headline(summary))}</p>",
        _tiles(summary),
        *(["<h2>Cameras</h2>", _camera_table(cameras, summary)] if cameras else []),
        "<h2>Seen from above</h2>",
        "<p>Line: the true path, ticks: viewing directions. Dots: estimated poses"
        + color_key()
        + "; crosses: images that were not localized. Grey: the map.</p>",
        f'<div class="card">{top_view(results, map_points)}</div>',
        "<h2>Errors</h2><p>Fraction of all query images with at most this error. Images without a pose count "
        "as never reached.</p>",
        _curves(results),
    ]
    sections += picture_sections(shown)
    sections += ["<h2>All frames</h2>", frame_table(results), "<h2>The run</h2>", about_card(about)]
    write_page(path, title, sections)


def headline(summary: Summary) -> str:
    """The result in one sentence."""
    if not summary.localized:
        return f"None of {summary.queries} images was localized."
    return (
        f"{summary.localized} of {summary.queries} images localized, median error "
        f"{amount(summary.median_translation_m, 'cm', 1, 100)} and "
        f"{amount(summary.median_rotation_deg, 'deg', 2)}; "
        f"{percent(summary.recall_010m_5deg)} of all within 10 cm and 5 deg, "
        f"{summary.false_localizations} false."
    )


def picture_sections(shown: Sequence[Figure]) -> list[str]:
    """The pictures of single frames, and how to read them."""
    if not shown:
        return []
    return [
        "<h2>Map against image</h2><p>If the pose is right, the map seen from it looks like the image, most "
        "matches are right (green) and their lines are parallel, and the coloured map points line up with "
        "the edges of the same objects in the image.</p>",
        *figures(shown),
    ]


def pick_frames(results: Sequence[QueryResult]) -> list[tuple[str, QueryResult]]:
    """The best, the median and the worst localized frame, and one that was refused, each with its caption.

    Without true poses, the ones with the most, the median and the fewest inliers.
    """
    localized = [r for r in results if r.map_from_camera is not None]
    if any(r.translation_error_m is not None for r in localized):
        known = [r for r in localized if r.translation_error_m is not None]
        ranked = sorted(known, key=lambda r: r.translation_error_m or 0.0)
    else:
        ranked = sorted(localized, key=lambda r: -(r.num_inliers or 0))
    picked = [(f"{word} of the localized: {describe(r)}", r) for word, r in best_median_worst(ranked)]
    refused = [r for r in results if r.map_from_camera is None]
    return [*picked, *((describe(r), r) for r in refused[len(refused) // 2 :][:1])]


def _tiles(summary: Summary) -> str:
    latency, covariance = summary.latency_ms, summary.covariance
    numbers = [
        (f"{summary.localized} / {summary.queries}", "images localized"),
        (amount(summary.median_translation_m, "cm", 1, 100), "median position error"),
        (amount(summary.median_rotation_deg, "°", 2), "median rotation error"),
        *recall_tiles(summary),
        (str(summary.false_localizations), "false (over 0.5 m or 10°)"),
        (amount(latency.median, "ms", 0), f"median latency; p95 {amount(latency.p95, 'ms', 0)}"),
    ]
    if covariance is not None:
        numbers += [
            _sigma_tile("position", covariance.position),
            _sigma_tile("rotation", covariance.rotation),
        ]
    return tiles(numbers)


def _camera_table(cameras: Mapping[str, CameraResult], joint: Summary) -> str:
    """All cameras together, and each of them alone."""

    def row(name: str, contributed: str, summary: Summary) -> list[str]:
        return [
            name,
            f"{summary.localized} of {summary.queries}",
            amount(summary.median_translation_m, "cm", 1, 100),
            amount(summary.median_rotation_deg, "°", 2),
            percent(summary.recall_010m_5deg),
            str(summary.false_localizations),
            contributed,
        ]

    head = ["cameras", "localized", "median position error", "median rotation error"]
    head += ["within 10 cm, 5°", "false", "contributes to joint poses"]
    rows = [row("all together", "", joint)]
    for name, result in cameras.items():
        rows.append(row(f"{name} alone", str(result.share.contributed), result.summary))
    return plain_table(head, rows)


def recall_tiles(summary: Summary) -> list[tuple[str, str]]:
    """The recalls and their labels."""
    return [
        (percent(getattr(summary, name)), f"within {100 * metres:g} cm, {degrees:g}°")
        for name, (metres, degrees) in RECALL_LIMITS.items()
    ]


def _sigma_tile(name: str, within: WithinSigmas) -> tuple[str, str]:
    fractions = f"{within.within_1_sigma:.0%}, {within.within_2_sigma:.0%}"
    return fractions, f"of the {name} errors within 1 and 2 reported sigma (ideal: 68 %, 95 %)"


def color_key() -> str:
    """The grades of dots as a legend."""
    dots = "".join(f'<i style="background:var(--{name})"></i>{words}' for name, words, *_ in GRADES)
    return f' <span class="key">{dots}</span>'


def _curves(results: Sequence[QueryResult]) -> str:
    metres = [None if (e := r.translation_error_m) is None else 100 * e for r in results]
    degrees = [r.rotation_error_deg for r in results]
    curves = (
        cumulative_curve(metres, 50, "cm", "Position error", (5, 10, 25)),
        cumulative_curve(degrees, 15, "deg", "Rotation error", (5, 10)),
    )
    return '<div class="plots">' + "".join(f'<div class="card">{curve}</div>' for curve in curves) + "</div>"


def frame_table(results: Sequence[QueryResult]) -> str:
    """One row per image."""

    def cell(value: float | None, digits: int, scale: float = 1.0) -> str:
        return "–" if value is None else f"{value * scale:.{digits}f}"

    rows = []
    for r in results:
        values = (
            cell(r.translation_error_m, 1, 100),
            cell(r.rotation_error_deg, 2),
            cell(r.num_inliers, 0),
            cell(r.inlier_ratio, 0, 100),
            cell(r.latency_ms, 0),
        )
        words = "localized" if r.map_from_camera is not None else r.reason or "no answer"
        cells = "".join(f"<td>{value}</td>" for value in values)
        rows.append(f'<tr><td>{r.number}</td>{cells}<td class="{grade(r)}">{html.escape(words)}</td></tr>')
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "frame",
            "position error, cm",
            "rotation error, °",
            "inliers",
            "inlier ratio, %",
            "latency, ms",
        )
    )
    table = f"<table><thead><tr>{head}<th>result</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="card scroll">{table}</div>'
