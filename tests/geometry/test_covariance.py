"""Estimates of one pose are fused by their covariances."""

from __future__ import annotations

import numpy as np

from diff2i2p_core.geometry.covariance import difference, fused, perturb
from diff2i2p_core.geometry.se3 import compose, exp

POSE = compose(exp([0.3, -1.0, 0.4, 0, 0, 0])[:3, :3], [5.0, -2.0, 1.0])


def test_each_estimate_counts_where_it_is_certain() -> None:
    """One knows x and the first turn, the other the rest: the mean takes each from the one that knows it."""
    truth = perturb(POSE, np.array([0.1, -0.2, 0.3, 0.02, -0.01, 0.03]))
    known = np.array([1, 0, 0, 1, 0, 0], bool)
    first = perturb(truth, np.where(known, 0.0, 0.05))
    second = perturb(truth, np.where(known, 0.05, 0.0))
    certain, vague = 1e-6, 1.0
    covariances = [np.diag(np.where(known, a, b)) for a, b in ((certain, vague), (vague, certain))]
    mean, covariance = fused([(first, covariances[0]), (second, covariances[1])])
    np.testing.assert_allclose(difference(mean, truth), 0, atol=2e-3)
    np.testing.assert_allclose(covariance, np.eye(6) * certain, rtol=1e-5, atol=1e-12)


def test_equal_estimates_halve_the_covariance() -> None:
    values = np.random.default_rng(0).normal(size=(6, 6))
    covariance = values @ values.T + np.eye(6)
    mean, combined = fused([(POSE, covariance), (perturb(POSE, np.full(6, 0.02)), covariance)])
    np.testing.assert_allclose(difference(mean, POSE), np.full(6, 0.01), atol=1e-9)
    np.testing.assert_allclose(combined, covariance / 2, rtol=1e-6)
    alone, same = fused([(POSE, covariance)])
    np.testing.assert_allclose(alone, POSE, atol=1e-12)
    np.testing.assert_allclose(same, covariance, rtol=1e-6)
