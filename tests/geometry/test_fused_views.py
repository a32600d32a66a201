"""Fused depth: the weights of near and far views, and edges, with known values."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.fused_views import View, fuse_views, without_edges


@pytest.mark.parametrize(
    ("depths", "weights"),
    [
        ((1.0, 3.0), (1.0, 1 / 9)),
        ((0.5, 2.0), (4.0, 1 / 4)),
        ((0.1, 1.0), (4.0, 1.0)),  # nearer than 0.5 m counts as 0.5 m
    ],
)
def test_a_view_counts_by_the_inverse_square_of_its_depth(
    depths: tuple[float, float], weights: tuple[float, float]
) -> None:
    places, values = np.array([[0.1, 0.2, 0.3], [0.9, 0.6, 0.7]]), np.array([[10.0], [200.0]])
    views = [
        View(place[None], np.array([depth]), value[None])
        for place, depth, value in zip(places, depths, values, strict=True)
    ]

    points, attributes = fuse_views(views, spacing=1.0, min_views=2)

    share = np.array(weights) / sum(weights)
    np.testing.assert_allclose(points, [share @ places], rtol=1e-6)
    np.testing.assert_allclose(attributes, [share @ values])


def test_edges_are_removed_on_both_sides() -> None:
    depth = np.full((10, 20), 2.0, np.float32)
    depth[:, 10:] = 3.0
    depth[5, 3] = 0
    clean = without_edges(depth)
    assert (clean[:, 8:12] == 0).all() and (clean[:, 13:] == 3).all() and clean[5, 2] == 2
