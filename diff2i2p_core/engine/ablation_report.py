"""The table of an ablation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from diff2i2p_core.engine.ablation import CORRECTED, RELEASED, RULES, Result
from diff2i2p_core.engine.experiment import TrainConfig

COLUMNS = {
    "ir": ("IR %", 100.0),
    "fmr": ("FMR %", 100.0),
    "rr": ("RR %", 100.0),
    "mean_rre_deg": ("RRE deg", 1.0),
    "mean_rte_m": ("RTE cm", 100.0),
    "median_rotation_deg": ("median deg", 1.0),
    "median_position_m": ("median cm", 100.0),
}
"""Of the validation mean: heading and factor. RRE and RTE are over registered pairs, medians over all."""


def table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Heading and rows: means and, for several seeds, standard deviations."""
    by_variant: dict[str, dict[int, Result]] = {}
    for result in results:
        by_variant.setdefault(result.variant, {})[result.seed] = result
    rows = []
    for name, runs in by_variant.items():
        cells = [
            _spread([run.metrics[key] for run in runs.values()], scale) for key, (_, scale) in COLUMNS.items()
        ]
        rows.append([name, str(len(runs)), *cells, _difference(runs, by_variant.get(CORRECTED, {}))])
    head = [
        "released rule",
        "seeds",
        *(heading for heading, _ in COLUMNS.values()),
        f"IR against {CORRECTED}",
    ]
    return head, rows


def _spread(values: Sequence[float | None], scale: float) -> str:
    known = [scale * value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.1f}"
    return f"{mean} ± {statistics.stdev(known):.1f}" if len(known) > 1 else mean


def _difference(runs: dict[int, Result], reference: dict[int, Result]) -> str:
    """Inlier ratios relative to the corrected runs with the same seeds."""
    pairs = [(runs[seed].metrics["ir"], reference[seed].metrics["ir"]) for seed in runs if seed in reference]
    if runs is reference or not pairs:
        return "-"
    return _spread([a - b for a, b in pairs if a is not None and b is not None], 100)


def markdown(base: TrainConfig, steps: int, results: Sequence[Result]) -> str:
    head, rows = table(results)
    lines = [head, ["---"] * len(head), *rows]
    ran = {result.variant for result in results}
    left_out = [f"{name} (needs {rule.needs})" for name, rule in RULES.items() if not rule.applies(base)]
    notes = [f"- `{name}`: {rule.what}" for name, rule in RULES.items() if name in ran]
    return "\n".join(
        [
            f"# Ablation of {base.name}",
            "",
            f"{steps} steps per run. `{CORRECTED}`: the experiment as it is; a rule's name: that released "
            f"rule instead of its correction; `{RELEASED}`: all of them. Mean ± standard deviation over "
            "the seeds. RRE and RTE are over registered pairs, medians over all pairs. The last column "
            "compares runs with the same seed.",
            "",
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            *notes,
            *([f"- left out, because they change nothing here: {', '.join(left_out)}"] if left_out else []),
            "",
        ]
    )
