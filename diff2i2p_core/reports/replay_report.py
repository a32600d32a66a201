"""The files of a replay: result.json, trajectory.tum and report.html."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_bag import Replay
from diff2i2p_core.evaluation.replay_metrics import ReplaySummary
from diff2i2p_core.evaluation.replay_result import ReplayResult
from diff2i2p_core.evaluation.requirements import Verdict
from diff2i2p_core.evaluation.summary import WithinSigmas
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.io.files import write_text
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.messages.bag_rig import BagImages
from diff2i2p_core.reports.match_pictures import localization_figure
from diff2i2p_core.reports.page import (
    Figure,
    about_card,
    amount,
    percent,
    plain_table,
    tiles,
    write_page,
)
from diff2i2p_core.reports.plots import histogram, top_view
from diff2i2p_core.reports.replay_plots import errors_over_time
from diff2i2p_core.reports.report import (
    color_key,
    frame_table,
    pick_frames,
    picture_sections,
    recall_tiles,
)
from diff2i2p_core.typing import Array

REPORT, TRAJECTORY, NUMBERS = FILES = ("report.html", "trajectory.tum", "result.json")


def write_replay(folder: Path | str, result: ReplayResult) -> None:
    """Write report.html, trajectory.tum (of the robot's frame, else the camera's) and, last, result.json."""
    folder = Path(folder)
    title = f"Replay of {result.given.camera.path.name}"
    write_page(folder / REPORT, title, replay_page(title, result))
    base = result.given.settings.base_frame
    stamps, poses = _trajectory(result.replay, result.given.camera, base)
    write_trajectory(folder / TRAJECTORY, stamps, poses, body=base or "camera")
    frames = [r.as_dict() for r in result.replay.results]
    write_text(folder / NUMBERS, json.dumps({**result.as_dict(), "frames": frames}, indent=1) + "\n")


def replay_page(title: str, result: ReplayResult) -> list[str]:
    """The sections of the report."""
    replay, point_map, summary = result.replay, result.point_map, result.summary
    results = replay.results
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(replay_headline(summary))}</p>",
        _tiles(summary),
    ]
    if result.verdicts:
        sections += ["<h2>Requirements</h2>", _requirements(result.verdicts)]
    if any(r.true_map_from_camera is not None or r.map_from_camera is not None for r in results):
        sections += [
            "<h2>Seen from above</h2>",
            "<p>Line: the true path, ticks: viewing directions. Dots: estimated poses"
            + color_key()
            + "; crosses: images that were not localized. Grey: the map.</p>",
            f'<div class="card">{top_view(results, point_map.cloud.points)}</div>',
        ]
    sections += ["<h2>Over time</h2>", *_over_time(replay), '<div class="plots">', *_histogram(results)]
    sections += [_reasons(summary.reasons), "</div>"]
    if summary.with_truth:
        sections += ["<h2>Drift and covariance</h2>", _numbers(summary)]
    sections += picture_sections(_figures(pick_frames(results), result))
    return [
        *sections,
        "<h2>All frames</h2>",
        frame_table(results),
        "<h2>The run</h2>",
        about_card(
            result.about
            | {f"node: {k}": str(v) for k, v in (result.node or {}).items()}
            | {f"warning {number}": line for number, line in enumerate(result.warnings, start=1)}
        ),
    ]


def replay_headline(summary: ReplaySummary) -> str:
    """The result in one sentence."""
    images = f"{summary.queries} images" + (f" ({summary.dropped} dropped)" if summary.dropped else "")
    if not summary.localized:
        return f"None of {images} was localized."
    words = f"{summary.localized} of {images} localized"
    if summary.with_truth:
        words += (
            f", ATE {amount(summary.rmse_translation_m, 'cm', 1, 100)} and "
            f"{amount(summary.rmse_rotation_deg, 'deg', 2)}, "
            f"{percent(summary.recall_010m_5deg)} within 10 cm and 5 deg, "
            f"{summary.false_localizations} false"
        )
    return f"{words}; latency {amount(summary.latency_ms.median, 'ms', 0)} median."


def _trajectory(replay: Replay, camera: BagImages, base: str | None) -> tuple[list[float], list[Array]]:
    """Stamps in seconds and map_from_base. Images are left out if TF lacks the base's pose."""
    stamps, poses = [], []
    for result in replay.results:
        stamp, pose = camera.stamps[result.number], result.map_from_camera
        camera_from_base = np.eye(4) if base is None else camera.index.tree.at(camera.frame, base, stamp)
        if pose is not None and camera_from_base is not None:
            stamps.append(stamp / 1e9)
            poses.append(pose @ camera_from_base)
    return stamps, poses


def _tiles(summary: ReplaySummary) -> str:
    latency = summary.latency_ms
    numbers = [
        (f"{summary.localized} / {summary.queries}", "images localized"),
        (
            amount(summary.longest_gap_s, "s"),
            f"longest gap; first pose after {amount(summary.first_pose_s, 's')}",
        ),
        (amount(latency.median, "ms", 0), f"median latency; p95 {amount(latency.p95, 'ms', 0)}"),
    ]
    if summary.dropped:
        numbers.append((str(summary.dropped), "images dropped"))
    if summary.with_truth:
        numbers += [
            (
                amount(summary.rmse_translation_m, "cm", 1, 100),
                f"ATE (RMSE); median {amount(summary.median_translation_m, 'cm', 1, 100)}",
            ),
            (
                amount(summary.rmse_rotation_deg, "°", 2),
                f"ATE of rotation; median {amount(summary.median_rotation_deg, '°', 2)}",
            ),
            *recall_tiles(summary),
            (percent(summary.recall_050m_10deg), "within 50 cm, 10°"),
            (str(summary.false_localizations), "false (over 0.5 m or 10°)"),
        ]
    return tiles(numbers)


def _requirements(verdicts: Sequence[Verdict]) -> str:
    rows = [
        (v.requirement, "none" if v.value is None else f"{v.value:.4g}", _word(v.passed)) for v in verdicts
    ]
    return plain_table(("requirement", "value", "result"), rows)


def _word(passed: bool) -> str:
    return "pass" if passed else "FAIL"


def _over_time(replay: Replay) -> list[str]:
    def centimetres(result: QueryResult) -> float | None:
        metres = result.translation_error_m
        return None if metres is None else 100 * metres

    def degrees(result: QueryResult) -> float | None:
        return result.rotation_error_deg

    def milliseconds(result: QueryResult) -> float | None:
        return result.latency_ms if result.map_from_camera is not None else None

    span = replay.begin, replay.end
    known = any(r.translation_error_m is not None for r in replay.results)
    plots = [errors_over_time(replay.results, milliseconds, *span, "Latency", (100, 1000), "ms")]
    if known:
        plots = [
            errors_over_time(replay.results, centimetres, *span, "Position error", (5, 10, 25, 50), "cm"),
            errors_over_time(replay.results, degrees, *span, "Rotation error", (1, 5, 10), "°"),
        ]
    return [
        "<p>Dots: errors of localized images, on a logarithmic scale. Red ticks below: images that were not "
        "localized; hover for the reason. Shaded: more than one second without a pose.</p>",
        '<div class="stack">',
        *(f'<div class="card">{plot}</div>' for plot in plots),
        "</div>",
    ]


def _histogram(results: Sequence[QueryResult]) -> list[str]:
    latencies = [r.latency_ms for r in results if r.latency_ms is not None]
    if not latencies:
        return []
    p95 = float(np.percentile(latencies, 95))
    limit = 250 * float(np.ceil(max(latencies) / 250))
    plot = histogram(latencies, "Latency in ms; 95th percentile", p95, limit=limit, words="{:.0f}".format)
    return [f'<div class="card">{plot}</div>']


def _reasons(counts: dict[str, int]) -> str:
    rows = [(reason, str(count)) for reason, count in counts.items()] or [("all localized", "0")]
    return plain_table(("why not localized", "images"), rows)


def _numbers(summary: ReplaySummary) -> str:
    rows = [
        (
            f"relative pose error over {over}",
            f"{amount(rpe.translation_m, 'cm', 1, 100)}, {amount(rpe.rotation_deg, '°', 2)} "
            f"({rpe.pairs} pairs)",
        )
        for over, rpe in (("1 s", summary.rpe_1s), ("1 m", summary.rpe_1m))
    ]
    if summary.covariance is not None:
        fractions, nees = summary.covariance, summary.nees
        rows += [
            _sigma_row("position", fractions.position, nees.position),
            _sigma_row("rotation", fractions.rotation, nees.rotation),
        ]
    return plain_table(("", ""), rows)


def _sigma_row(name: str, fractions: WithinSigmas, squared: float | None) -> tuple[str, str]:
    return (
        f"covariance of the {name}",
        f"{fractions.within_1_sigma:.0%} within 1 sigma (ideal: 68 %), {fractions.within_2_sigma:.0%} within "
        f"2 (95 %); mean squared {amount(squared, '')} (ideal: 1)",
    )


def _figures(picked: Sequence[tuple[str, QueryResult]], result: ReplayResult) -> list[Figure]:
    """Pictures of single images, which are read from the bag again. With several cameras, a result is about
    all of them; the pictures are of the first one, if it has an image of that moment."""
    camera = result.given.camera
    pictures = {image.number: image for image in camera.images({r.number for _, r in picked})}
    made = []
    for caption, query in picked:
        try:
            pixels, lens, depth = camera.decode(pictures[query.number])
        except (KeyError, InputError):  # no image of that moment, or an unusable one
            continue
        made.append(localization_figure(result.localizer, pixels, lens, query, caption, depth))
    return made
