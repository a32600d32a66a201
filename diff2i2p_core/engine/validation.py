"""Validation during training: network and PnP on held-out pairs, measured as in the papers."""

from __future__ import annotations

from collections.abc import Iterable

from diff2i2p_core.engine.experiment import ValidationSettings
from diff2i2p_core.evaluation.benchmark_summary import BenchmarkSummary
from diff2i2p_core.evaluation.protocol import Protocol, find_protocol
from diff2i2p_core.evaluation.registration import (
    PairMetrics,
    Registration,
    pair_metrics,
    register,
)
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.pairs.pair import Pair


def protocol_of(settings: ValidationSettings) -> Protocol:
    named = find_protocol(settings.protocol)
    rules = named if settings.released else named.corrected()
    return rules.model_copy(update={"solver": settings.solver})


def measure(
    model: Diff2I2P, pairs: Iterable[Pair], protocol: Protocol
) -> Iterable[tuple[Registration, PairMetrics]]:
    """Register pairs with the network in evaluation mode. Its mode is restored afterwards."""
    training = model.training
    model.eval()
    try:
        for pair in pairs:
            registration = register(model, pair)
            yield registration, pair_metrics(registration, protocol)
    finally:
        model.train(training)


def score(summary: BenchmarkSummary) -> tuple[float, float]:
    """A score to compare, higher is better: registration recall, then inlier ratio."""
    return summary.mean["rr"], summary.mean["ir"]
