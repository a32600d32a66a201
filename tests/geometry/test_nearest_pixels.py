"""The nearest of some pixels, for every pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.nearest_pixels import nearest_pixels


@pytest.mark.parametrize("mask", [cv2.DIST_MASK_3, cv2.DIST_MASK_5])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.9, 1.0])
def test_rows_are_of_the_nearest_known_pixels(mask: int, share: float) -> None:
    rng = np.random.default_rng(3)
    shape = 61, 83
    known = np.flatnonzero(rng.random(shape) <= share)
    rows, distance = nearest_pixels(known, shape, mask)
    at = np.stack(np.unravel_index(known, shape), axis=1)
    pixels = np.argwhere(np.ones(shape))
    exact, _ = cKDTree(at).query(pixels)
    found = np.linalg.norm(at[rows.ravel()] - pixels, axis=1)
    assert (rows.ravel()[known] == np.arange(len(known))).all()
    assert (found <= 1.09 * exact + 1e-9).all()
    assert np.abs(distance.ravel() - exact).max() <= 0.09 * exact.max() + 1e-6
