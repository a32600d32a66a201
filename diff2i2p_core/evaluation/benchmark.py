"""The results of a benchmark as tables, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diff2i2p_core.evaluation.benchmark_summary import RR_CURVE_CM, BenchmarkSummary
from diff2i2p_core.evaluation.cache import CacheInfo
from diff2i2p_core.evaluation.comparison import COMPARISON_HEAD, comparison_notes, comparisons
from diff2i2p_core.evaluation.protocol import Protocol, thresholds_words
from diff2i2p_core.evaluation.registration import PairMetrics
from diff2i2p_core.evaluation.result import Result
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


def table_rows(summary: BenchmarkSummary, columns: Sequence[Column] = COLUMNS) -> list[tuple[str, list[str]]]:
    """Each scene with its values as text, then the mean over scenes."""

    def cell(value: float, column: Column) -> str:
        return f"{value * column.factor:.{column.digits}f}" if np.isfinite(value) else "–"

    rows = [*summary.scenes.items(), ("mean", summary.mean)]
    return [(name, [cell(row[column.key], column) for column in columns]) for name, row in rows]


def protocol_words(protocol: Protocol) -> str:
    """The protocol in one line."""
    solver = f"P3P RANSAC, {protocol.iterations:,} iterations" if protocol.solver == "paper" else "PoseLib"
    parts = [
        thresholds_words(protocol),
        f"{solver}, {protocol.reprojection_px:g} px",
        "only pixels with depth" if protocol.depth_only else "all pixels",
        "tuned cloud" if protocol.tuned_cloud else "untuned cloud",
        f"patches overlap by more than {protocol.patch_overlap:g}",
    ]
    if protocol.num_corr is not None:
        parts.append(f"best {protocol.num_corr} matches")
    return "; ".join(parts)


def as_json(folder: Path, info: CacheInfo | None, results: Sequence[Result]) -> dict[str, Any]:
    """A JSON object with the complete result. Missing values are null."""
    main, *others = results
    return {
        "cache": str(folder),
        "test": None if info is None else info.model_dump(),
        "protocol": main.protocol.model_dump(),
        **main.summary.as_json(),
        "other_thresholds": [
            {"protocol": other.protocol.model_dump(), **other.summary.as_json()} for other in others
        ],
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
        "network_s": metrics.network_s,
        "peak_mib": metrics.peak_mib,
        "camera_from_cloud": None if pose is None else pose.tolist(),
    }


def write_json(path: Path, content: dict[str, Any], metrics: Sequence[PairMetrics]) -> None:
    """Write `content` from `as_json` and all pairs, as measured under the first protocol."""
    everything = {**content, "pair_metrics": [pair_json(pair) for pair in metrics]}
    write_text(path, json.dumps(everything, indent=1, allow_nan=False) + "\n")


def write_markdown(path: Path, title: str, results: Sequence[Result], info: CacheInfo | None) -> None:
    """Write scenes, the RR curve, and the mean beside published results at the same thresholds."""
    main = results[0]
    curve = rr_curve(main.summary)
    scenes = [[name, *cells] for name, cells in table_rows(main.summary)]
    recalls = ["RR %", *(f"{100 * value:.1f}" for _, value in curve)]
    lines = [
        f"# {title}",
        "",
        protocol_words(main.protocol) + ".",
        "",
        *_markdown(["scene", *(column.heading for column in COLUMNS)], scenes),
        "",
        ERRORS_NOTE,
        "",
        *_markdown(["RMSE below, cm", *(str(cm) for cm, _ in curve)], [recalls]),
        "",
        "## Comparison with published results",
    ]
    for note in comparison_notes(results, info):
        lines += ["", note]
    for heading, rows in comparisons(results, info):
        lines += ["", f"### {heading}", "", *_markdown(COMPARISON_HEAD, rows)]
    write_text(path, "\n".join(lines) + "\n")


def rr_curve(summary: BenchmarkSummary) -> list[tuple[int, float]]:
    """RMSE limits in centimetres, and the mean registration recall at each."""
    return [(cm, summary.mean[f"rr_{cm:02d}cm"]) for cm in RR_CURVE_CM]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---" if name in ("scene", "method", "source") else "---:" for name in head]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
