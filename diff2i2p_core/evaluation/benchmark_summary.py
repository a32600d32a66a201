"""The papers' metrics of many pairs: per scene, and their means over the scenes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from diff2i2p_core.evaluation.registration import PairMetrics

PMR_LEVELS = (0.0, 0.1, 0.3, 0.5)
"""Thresholds of the patch inlier ratio: above the first (0), and at least each of the others."""
RR_CURVE_CM = range(2, 11)


@dataclass(frozen=True)
class BenchmarkSummary:
    """Metrics by name for each scene, and their unweighted mean over the scenes.

    Ratios are in [0, 1], lengths in metres, angles in degrees. RRE and RTE are over the registered pairs;
    they are NaN if there are none, and the scene is then left out of the mean; those named `all` are over all
    pairs with a pose. `median_position_m` and
    `median_rotation_deg` are over all pairs, infinite if most have no pose. `pairs` of the mean is the sum.
    `median_network_s` and `peak_mib` (a maximum) are NaN where they were not measured.
    """

    scenes: dict[str, dict[str, float]]
    mean: dict[str, float]

    def resources_words(self) -> str:
        """Time and memory of the network; empty if they were not measured."""
        seconds, peak = self.mean["median_network_s"], self.mean["peak_mib"]
        if not np.isfinite(seconds):
            return ""
        return f"network: {1000 * seconds:.0f} ms a pair (median), at most {peak:.0f} MiB"

    def as_json(self) -> dict[str, Any]:
        """The same, with null for missing values."""

        def finite(row: dict[str, float]) -> dict[str, float | None]:
            numbers = {key: value if np.isfinite(value) else None for key, value in row.items()}
            return {**numbers, "pairs": int(row["pairs"])}

        return {"scenes": {name: finite(row) for name, row in self.scenes.items()}, "mean": finite(self.mean)}


def summarize(metrics: Iterable[PairMetrics]) -> BenchmarkSummary:
    """The papers' metrics for one or more pairs."""
    by_scene: dict[str, list[PairMetrics]] = {}
    for pair in metrics:
        by_scene.setdefault(pair.scene, []).append(pair)
    scenes = {name: _scene_summary(by_scene[name]) for name in sorted(by_scene)}
    mean = {}
    for key in next(iter(scenes.values())):
        column = np.array([row[key] for row in scenes.values()])
        known = column[~np.isnan(column)]
        mean[key] = float(known.mean()) if len(known) else np.nan
    mean["pairs"] = sum(row["pairs"] for row in scenes.values())
    mean |= _resources([pair for pairs in by_scene.values() for pair in pairs])
    return BenchmarkSummary(scenes, mean)


def _scene_summary(pairs: list[PairMetrics]) -> dict[str, float]:
    patch_ratio = np.array([p.patch_inlier_ratio for p in pairs])
    rmse = np.array([p.rmse_m for p in pairs])
    position = np.array([p.position_m for p in pairs])
    rotation = np.array([p.rotation_deg for p in pairs])
    registered = [p for p in pairs if p.registered]
    posed = [p for p in pairs if p.camera_from_cloud is not None]
    rre = [p.rotation_deg for p in registered] or [np.nan]
    rte = [p.translation_m for p in registered] or [np.nan]
    summary: dict[str, Any] = {
        "pairs": len(pairs),
        "correspondences": np.mean([p.correspondences for p in pairs]),
        "pir": patch_ratio.mean(),
        **{
            f"pmr_{100 * level:02.0f}": np.mean(patch_ratio >= level if level else patch_ratio > 0)
            for level in PMR_LEVELS
        },
        "or": np.mean([p.covered_ratio for p in pairs]),
        "ir": np.mean([p.inlier_ratio for p in pairs]),
        "fmr": np.mean([p.matched for p in pairs]),
        "rr": len(registered) / len(pairs),
        **{f"rr_{cm:02d}cm": np.mean(rmse < cm / 100) for cm in RR_CURVE_CM},
        "mean_rre_deg": np.mean(rre),
        "mean_rte_m": np.mean(rte),
        "median_rre_deg": np.median(rre),
        "median_rte_m": np.median(rte),
        "mean_rre_all_deg": np.mean([p.rotation_deg for p in posed] or [np.nan]),
        "mean_rte_all_m": np.mean([p.translation_m for p in posed] or [np.nan]),
        "median_position_m": np.median(position),
        "median_rotation_deg": np.median(rotation),
        "recall_005m_5deg": np.mean((position <= 0.05) & (rotation <= 5)),
        **_resources(pairs),
    }
    return {key: float(value) for key, value in summary.items()}


def _resources(pairs: list[PairMetrics]) -> dict[str, float]:
    """Time and memory of the network, over the pairs for which they are known."""
    seconds = [p.network_s for p in pairs if p.network_s is not None]
    peaks = [p.peak_mib for p in pairs if p.peak_mib is not None]
    return {
        "median_network_s": float(np.median(seconds)) if seconds else np.nan,
        "peak_mib": max(peaks, default=np.nan),
    }
