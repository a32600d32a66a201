"""The files of a replay: result.json, trajectory.tum and report.html."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diff2i2p_core.evaluation.localize_bag import Replay
from diff2i2p_core.evaluation.replay_metrics import RECALL_LIMITS, recall_name
from diff2i2p_core.evaluation.replay_result import ReplayResult
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.io.files import write_text
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.reports.overlay import panel
from diff2i2p_core.reports.page import (
    about_card,
    best_median_worst,
    figures,
    plain_table,
    tiles,
    write_page,
)
from diff2i2p_core.reports.plots import histogram, top_view
from diff2i2p_core.reports.replay_plots import errors_over_time
from diff2i2p_core.reports.report import color_key, frame_caption, frame_table, pick_frames
from diff2i2p_core.typing import Array, Image

REPORT, TRAJECTORY, NUMBERS = FILES = ("report.html", "trajectory.tum", "result.json")


def write_replay(folder: Path | str, result: ReplayResult) -> None:
    """Write report.html, trajectory.tum (of the robot's frame, else the camera's) and, last, result.json."""
    folder = Path(folder)
    title, content = f"Replay of {result.given.camera.path.name}", result.as_dict()
    write_page(folder / REPORT, title, replay_page(title, content, result))
    base = result.given.settings.base_frame
    stamps, poses = _trajectory(result.replay, result.given.camera, base)
    write_trajectory(folder / TRAJECTORY, stamps, poses, body=base or "camera")
    frames = [r.as_dict() for r in result.replay.results]
    write_text(folder / NUMBERS, json.dumps({**content, "frames": frames}, indent=1) + "\n")


def replay_page(title: str, content: dict[str, Any], result: ReplayResult) -> list[str]:
    """The sections of the report; `content` is the result's `as_dict`."""
    replay, point_map = result.replay, result.point_map
    results = replay.results
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(replay_headline(content))}</p>",
        _tiles(content),
    ]
    if content["requirements"]:
        sections += ["<h2>Requirements</h2>", _requirements(content["requirements"])]
    if any(r.true_map_from_camera is not None or r.map_from_camera is not None for r in results):
        sections += [
            "<h2>Seen from above</h2>",
            "<p>Line: the true path, ticks: viewing directions. Dots: estimated poses"
            + color_key()
            + "; crosses: images that were not localized. Grey: the map.</p>",
            f'<div class="card">{top_view(results, point_map.cloud.points)}</div>',
        ]
    sections += ["<h2>Over time</h2>", *_over_time(replay), '<div class="plots">', *_histogram(results)]
    sections += [_reasons(content["reasons"]), "</div>"]
    if content["with_truth"]:
        sections += ["<h2>Drift and covariance</h2>", _numbers(content)]
    chosen = pick_frames(results) or _some(results)
    if chosen:
        sections.append(
            "<h2>Map against image</h2><p>Where the pose is right, the coloured map points lie on the "
            "edges of the same things in the image, and the map seen from the pose looks like it.</p>"
        )
        sections += figures(_panels(chosen, result.given.camera, point_map))
    return [
        *sections,
        "<h2>Every frame</h2>",
        frame_table(results),
        "<h2>The run</h2>",
        about_card(content["about"] | {f"node: {k}": str(v) for k, v in content.get("node", {}).items()}),
    ]


def replay_headline(content: dict[str, Any]) -> str:
    """The result in one sentence."""
    images = f"{content['images']} images" + (
        f" ({content['dropped']} dropped)" if content["dropped"] else ""
    )
    if not content["localized"]:
        return f"None of {images} was localized."
    words = f"{content['localized']} of {images} localized"
    if content["with_truth"]:
        ate = content["ate"]
        words += (
            f", ATE {_value(ate['translation_m']['rmse'], 100, 'cm')} and "
            f"{_value(ate['rotation_deg']['rmse'], 1, 'deg', 2)}, "
            f"{content['recall'][recall_name(0.1, 5)]:.0%} within 10 cm and 5 deg, "
            f"{content['false_localizations']} false"
        )
    return f"{words}; latency {_value(content['latency_ms']['median'], 1, 'ms', 0)} median."


def _trajectory(replay: Replay, camera: BagCamera, base: str | None) -> tuple[list[float], list[Array]]:
    """Stamps in seconds and map_from_base; where TF does not say the base's, there is none."""
    stamps, poses = [], []
    for result in replay.results:
        stamp, pose = camera.stamps[result.number], result.map_from_camera
        camera_from_base = np.eye(4) if base is None else camera.index.tree.at(camera.frame, base, stamp)
        if pose is not None and camera_from_base is not None:
            stamps.append(stamp / 1e9)
            poses.append(pose @ camera_from_base)
    return stamps, poses


def _tiles(content: dict[str, Any]) -> str:
    latency, ate, recall = content["latency_ms"], content["ate"], content["recall"]
    numbers = [
        (f"{content['localized']} / {content['images']}", "images localized"),
        (
            _value(content["longest_gap_s"], 1, "s"),
            f"longest gap; first pose after {_value(content['first_pose_s'], 1, 's')}",
        ),
        (_value(latency["median"], 1, "ms", 0), f"median latency; p95 {_value(latency['p95'], 1, 'ms', 0)}"),
    ]
    if content["dropped"]:
        numbers.append((str(content["dropped"]), "images dropped"))
    if content["with_truth"]:
        numbers += [
            (
                _value(ate["translation_m"]["rmse"], 100, "cm"),
                f"ATE (RMSE); median {_value(ate['translation_m']['median'], 100, 'cm')}",
            ),
            (
                _value(ate["rotation_deg"]["rmse"], 1, "°", 2),
                f"ATE of rotation; median {_value(ate['rotation_deg']['median'], 1, '°', 2)}",
            ),
            *(
                (f"{recall[recall_name(m, d)]:.0%}", f"within {100 * m:g} cm, {d:g}°")
                for m, d in RECALL_LIMITS
            ),
            (str(content["false_localizations"]), "false (over 0.5 m or 10°)"),
        ]
    return tiles(numbers)


def _requirements(verdicts: Sequence[dict[str, Any]]) -> str:
    rows = [
        (v["requirement"], "none" if v["value"] is None else f"{v['value']:.4g}", _word(v["passed"]))
        for v in verdicts
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
        "<p>Dots: localized images, by their error on a logarithmic scale. Red ticks below: images that were "
        "not localized; hover for the reason. Shaded: more than a second without a pose.</p>",
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
    rows = [(reason, str(count)) for reason, count in counts.items()] or [("none refused", "0")]
    return plain_table(("why not localized", "images"), rows)


def _numbers(content: dict[str, Any]) -> str:
    rows = [
        (
            f"relative pose error over {over}",
            f"{_value(rpe['translation_m'], 100, 'cm')}, {_value(rpe['rotation_deg'], 1, '°', 2)} "
            f"({rpe['pairs']} pairs)",
        )
        for over, rpe in (("1 s", content["rpe"]["1s"]), ("1 m", content["rpe"]["1m"]))
    ]
    if content["covariance"] is not None:
        for name in ("position", "rotation"):
            shares = content["covariance"][name]
            rows.append(
                (
                    f"covariance of the {name}",
                    f"{shares['within_1_sigma']:.0%} within 1 sigma (honest: 68 %), "
                    f"{shares['within_2_sigma']:.0%} within 2 (95 %); "
                    f"mean squared {_value(content['nees'][name], 1, '')}(honest: 1)",
                )
            )
    return plain_table(("", ""), rows)


def _some(results: Sequence[QueryResult]) -> list[tuple[str, QueryResult]]:
    """Without a truth: the localized images with the most, a median and the fewest inliers."""
    localized = [r for r in results if r.map_from_camera is not None]
    return best_median_worst(sorted(localized, key=lambda r: -(r.num_inliers or 0)))


def _panels(
    chosen: Sequence[tuple[str, QueryResult]], camera: BagCamera, point_map: PointMap
) -> list[tuple[str, Image]]:
    """The images are read from the bag again."""
    pictures = {image.number: camera.decode(image) for image in camera.images({r.number for _, r in chosen})}
    panels = []
    for word, result in chosen:
        pixels, pinhole, _ = pictures[result.number]
        assert result.map_from_camera is not None
        caption = frame_caption(word, result)
        panels.append(
            (
                caption,
                panel(
                    pixels,
                    pinhole,
                    result.map_from_camera,
                    point_map.cloud,
                    point_map.spacing,
                    caption,
                ),
            )
        )
    return panels


def _value(value: float | None, scale: float, unit: str, digits: int = 1) -> str:
    return "–" if value is None else f"{value * scale:.{digits}f} {unit}"
