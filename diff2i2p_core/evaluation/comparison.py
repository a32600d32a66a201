"""Results beside published ones: at the same thresholds, and apart by whether the query has depth."""

from __future__ import annotations

from collections.abc import Sequence

from diff2i2p_core.evaluation.cache import CacheInfo
from diff2i2p_core.evaluation.protocol import thresholds_words
from diff2i2p_core.evaluation.published_results import PUBLISHED, PUBLISHED_NOTES, RUNTIME_NOTE
from diff2i2p_core.evaluation.result import Result
from diff2i2p_core.pairs.benchmarks import BENCHMARKS

COMPARISON_HEAD = ("method", "IR %", "FMR %", "RR %", "source")
_QUERIES = {
    False: "queries without depth, as far as is known",
    True: "queries with depth, which the network gets as input",
}


def comparisons(results: Sequence[Result], info: CacheInfo | None) -> list[tuple[str, list[list[str]]]]:
    """Headings and tables under `COMPARISON_HEAD`. A table starts with this run if it has such queries; if
    nobody recorded whether it has, every table does."""
    benchmark, depth = _benchmark(results, info), None if info is None else info.query_depth
    comparable = info is None or not info.prepared
    tables = []
    for result in results:
        for query_depth, words in _QUERIES.items():
            rows = [
                [row.method, *("–" if s is None else f"{s:.1f}" for s in row.scores), row.source]
                for row in PUBLISHED
                if (row.benchmark, row.thresholds, row.query_depth)
                == (benchmark, result.protocol.thresholds, query_depth)
                and comparable
            ]
            if depth in (None, query_depth):
                rows.insert(0, _this_run(result, known=depth is not None))
            if rows:
                tables.append((f"{thresholds_words(result.protocol)}; {words}", rows))
    return tables


def comparison_notes(results: Sequence[Result], info: CacheInfo | None) -> list[str]:
    """What a reader of the tables must know, one sentence or more per entry."""
    benchmark, mean = _benchmark(results, info), results[0].summary.mean
    if info is not None and info.prepared:
        return ["`diff2i2p prepare` made these pairs: they are not those of the papers."]
    notes = [PUBLISHED_NOTES[benchmark]] if benchmark in PUBLISHED_NOTES else []
    facts = next((facts for name, facts in BENCHMARKS.items() if name == benchmark), None)
    expected = None if facts is None else facts.pairs.get("test" if info is None else info.subset)
    if expected is not None and expected != mean["pairs"]:
        notes.append(
            f"Published results are over the {expected} pairs of the authors' data, this run is over "
            f"{mean['pairs']:.0f} pairs: they cannot be compared directly."
        )
    if line := results[0].summary.resources_words():
        notes.append(f"This run's {line}. {RUNTIME_NOTE}")
    return notes


def _benchmark(results: Sequence[Result], info: CacheInfo | None) -> str:
    return results[0].protocol.name if info is None else info.benchmark


def _this_run(result: Result, known: bool) -> list[str]:
    scores = (f"{100 * result.summary.mean[key]:.1f}" for key in ("ir", "fmr", "rr"))
    words = ["measured", *result.protocol.differences()]
    if not known:
        words.append("query depth not recorded")
    return ["this run", *scores, ", ".join(words)]
