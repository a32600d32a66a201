"""Finds out early that a cloud is not in metres: its views would show nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.errors import InputError

_SAMPLES = 50_000
_ENOUGH = 100
"""Fewer points tell nothing."""
_MAX_SPACING = 0.5
"""Metres between neighbouring points. A view of a sparser cloud shows too few of them."""
_MAX_HEIGHT = 300.0
"""Metres. No place that a camera is localized in is as large as this in all directions."""
_ROOMY = 100.0
"""Metres. What is as sparse as that, and smaller than this, may well be in metres."""
_MIN_SIZE = 0.1
"""Metres. A smaller cloud is no place either."""


def check_metres(points: NDArray[np.float32], name: str) -> None:
    """InputError if points (N, 3) are too sparse, or their extent too large or too small, for metres."""
    if len(points) < _ENOUGH:
        return
    rng = np.random.default_rng(0)
    some = points[np.unique(rng.integers(0, len(points), _SAMPLES))] if len(points) > _SAMPLES else points
    size = np.ptp(np.percentile(some, [1, 99], axis=0), axis=0)
    nearest = cKDTree(some).query(some[rng.integers(0, len(some), 2000)], k=2)[0][:, 1]
    # Points lie on surfaces, so all N are closer together than a sample by the root of their ratio.
    spacing = float(np.median(nearest)) * float(np.sqrt(len(some) / len(points)))
    if spacing > _MAX_SPACING and size.max() < _ROOMY:
        raise InputError(f"{name}: has {spacing:.2g} m between points; give a denser cloud, in metres")
    if spacing > _MAX_SPACING or size.min() > _MAX_HEIGHT or size.max() < _MIN_SIZE:
        extent = " x ".join(f"{length:.0f}" if length > 10 else f"{length:.2g}" for length in size)
        guess = " (perhaps in millimetres)" if size.max() > _ROOMY else ""
        raise InputError(
            f"{name}: would be {extent} m large, with {spacing:.2g} m between points, so it is not in metres"
            f"{guess}; scale it to metres"
        )
