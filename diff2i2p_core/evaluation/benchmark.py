"""Evaluates a folder of registrations under a protocol: metrics of each pair, tables, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diff2i2p_core.evaluation.cache import CacheInfo, read_registration, registration_files
from diff2i2p_core.evaluation.protocol import Protocol
from diff2i2p_core.evaluation.published_results import PUBLISHED, PUBLISHED_HEAD, PUBLISHED_NOTES
from diff2i2p_core.evaluation.registration import RR_CURVE_CM, BenchmarkSummary, PairMetrics, pair_metrics
from diff2i2p_core.io.files import write_text


class Column(NamedTuple):
    heading: str
    key: str
    """The key in the summary."""
    factor: float
    digits: int


COLUMNS = (
    Column("pairs", "pairs", 1, 0),
    Column("PIR %", "pir", 100, 1),
    Column("IR %", "ir", 100, 1),
    Column("FMR %", "fmr", 100, 1),
    Column("RR %", "rr", 100, 1),
    Column("RRE °", "mean_rre_deg", 1, 2),
    Column("RTE cm", "mean_rte_m", 100, 1),
    Column("median RRE °", "median_rre_deg", 1, 2),
    Column("median RTE cm", "median_rte_m", 100, 1),
    Column("median °", "median_rotation_deg", 1, 2),
    Column("median cm", "median_position_m", 100, 1),
    Column("5cm,5° %", "recall_005m_5deg", 100, 1),
)
ERRORS_NOTE = (
    "The mean is over scenes, unweighted. RRE and RTE are over the registered pairs. Median °, median cm and "
    "the recall at 5 cm and 5° are errors of the camera over all pairs."
)


def evaluate_folder(
    folder: Path, protocol: Protocol, threads: int, progress: Callable[[int, int], None] | None = None
) -> list[PairMetrics]:
    """Evaluate all registrations in `folder`, in the order of the files.

    OpenCV's RANSAC takes nearly all of the time and releases the interpreter's lock, so threads share the
    pairs. `progress` gets the number done and the total.
    """
    files = registration_files(folder)
    metrics_of_pairs = []
    with ThreadPoolExecutor(threads) as pool:
        for metrics in pool.map(lambda path: pair_metrics(read_registration(path), protocol), files):
            metrics_of_pairs.append(metrics)
            if progress is not None:
                progress(len(metrics_of_pairs), len(files))
    return metrics_of_pairs


def table_rows(summary: BenchmarkSummary, columns: Sequence[Column] = COLUMNS) -> list[tuple[str, list[str]]]:
    """Each scene with its values as text, then the mean over scenes."""

    def cell(value: float, column: Column) -> str:
        return f"{value * column.factor:.{column.digits}f}" if np.isfinite(value) else "–"

    rows = [*summary.scenes.items(), ("mean", summary.mean)]
    return [(name, [cell(row[column.key], column) for column in columns]) for name, row in rows]


def published_rows(summary: BenchmarkSummary, benchmark: str) -> Iterator[list[str]]:
    """Rows under `PUBLISHED_HEAD`: ours first, then the published ones."""
    ours = (f"{100 * summary.mean[key]:.1f}" for key in ("ir", "fmr", "rr"))
    yield ["this run", *ours, "measured"]
    for row in PUBLISHED:
        scores = row.on(benchmark)
        if scores is not None:
            yield [row.method, *("–" if s is None else f"{s:.1f}" for s in scores), row.source]


def protocol_words(protocol: Protocol) -> str:
    """The protocol in one line."""
    radius, ratio, rmse = protocol.acceptance_radius, protocol.inlier_ratio, protocol.rmse
    solver = f"P3P RANSAC, {protocol.iterations:,} iterations" if protocol.solver == "paper" else "PoseLib"
    parts = [
        f"{protocol.name} thresholds (inlier {radius:g} m, FMR {ratio:g}, RMSE {rmse:g} m)",
        f"{solver}, {protocol.reprojection_px:g} px",
        "only pixels with depth" if protocol.depth_only else "all pixels",
        "tuned cloud" if protocol.tuned_cloud else "untuned cloud",
        f"patches overlap by more than {protocol.patch_overlap:g}",
    ]
    if protocol.num_corr is not None:
        parts.append(f"best {protocol.num_corr} matches")
    return "; ".join(parts)


def as_json(
    folder: Path, info: CacheInfo | None, protocol: Protocol, summary: BenchmarkSummary
) -> dict[str, Any]:
    """A JSON object with the complete result. Missing values are null."""
    return {
        "cache": str(folder),
        "test": None if info is None else info.model_dump(),
        "protocol": protocol.model_dump(),
        **summary.as_json(),
    }


def pair_json(metrics: PairMetrics) -> dict[str, Any]:
    """One row of the `pair_metrics` list in eval.json."""

    def finite(value: float) -> float | None:
        return value if np.isfinite(value) else None

    pose = metrics.camera_from_cloud
    return {
        "name": metrics.name,
        "correspondences": metrics.correspondences,
        "pir": metrics.patch_inlier_ratio,
        "ir": metrics.inlier_ratio,
        "or": metrics.covered_ratio,
        "matched": metrics.matched,
        "registered": metrics.registered,
        "rmse_m": finite(metrics.rmse_m),
        "rre_deg": finite(metrics.rotation_deg),
        "rte_m": finite(metrics.translation_m),
        "position_m": finite(metrics.position_m),
        "camera_from_cloud": None if pose is None else pose.tolist(),
    }


def write_json(path: Path, content: dict[str, Any], metrics: Sequence[PairMetrics]) -> None:
    """Write `content` from `as_json` and all pairs."""
    everything = {**content, "pair_metrics": [pair_json(pair) for pair in metrics]}
    write_text(path, json.dumps(everything, indent=1, allow_nan=False) + "\n")


def write_markdown(
    path: Path, title: str, protocol: Protocol, summary: BenchmarkSummary, benchmark: str
) -> None:
    """Write scenes, the RR curve, and the mean beside published results."""
    curve = rr_curve(summary)
    scenes = [[name, *cells] for name, cells in table_rows(summary)]
    recalls = ["RR %", *(f"{100 * value:.1f}" for _, value in curve)]
    lines = [
        f"# {title}",
        "",
        protocol_words(protocol) + ".",
        "",
        *_markdown(["scene", *(column.heading for column in COLUMNS)], scenes),
        "",
        ERRORS_NOTE,
        "",
        *_markdown(["RMSE below, cm", *(str(cm) for cm, _ in curve)], [recalls]),
        "",
        "## Comparison with published results",
        "",
        *_markdown(PUBLISHED_HEAD, list(published_rows(summary, benchmark))),
        "",
        PUBLISHED_NOTES.get(benchmark, ""),
    ]
    write_text(path, "\n".join(lines) + "\n")


def rr_curve(summary: BenchmarkSummary) -> list[tuple[int, float]]:
    """RMSE limits in centimetres, and the mean registration recall at each."""
    return [(cm, summary.mean[f"rr_{cm:02d}cm"]) for cm in RR_CURVE_CM]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---" if name in ("scene", "method", "source") else "---:" for name in head]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
