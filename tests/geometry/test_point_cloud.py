"""A cloud keeps what is known of each point together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose

CLOUD = PointCloud(
    np.arange(12, dtype=np.float32).reshape(4, 3),
    np.arange(12, dtype=np.uint8).reshape(4, 3),
    np.array([1, 2, 3, 4], np.uint8),
)


@pytest.mark.parametrize("rows", [[2, 0], np.array([True, False, True, False]), slice(1, 3), slice(0)])
def test_rows_are_taken_with_all_their_attributes(rows: Any) -> None:
    taken = CLOUD.take(rows)
    for name in ("points", "colors", "intensity"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(CLOUD, name)[rows])


def test_a_moved_cloud_keeps_its_attributes() -> None:
    moved = CLOUD.moved(compose(np.eye(3), [1, 0, -1]))
    np.testing.assert_allclose(moved.points, CLOUD.points + np.array([1, 0, -1], np.float32))
    assert moved.colors is CLOUD.colors and moved.intensity is CLOUD.intensity


def test_joined_clouds_have_what_all_of_them_have() -> None:
    joined = PointCloud.joined([CLOUD, PointCloud(CLOUD.points, intensity=CLOUD.intensity)])
    assert len(joined) == 8 and joined.colors is None and joined.intensity is not None
    assert joined.intensity.tolist() == [1, 2, 3, 4, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"points": np.zeros((4, 2))}, r"points have shape \(4, 2\)"),
        ({"points": np.zeros((4, 3)), "colors": np.zeros((3, 3), np.uint8)}, "colors of shape"),
        ({"points": np.zeros((4, 3)), "colors": np.zeros((4, 3))}, "colors of type float64"),
        ({"points": np.zeros((4, 3)), "intensity": np.zeros((4, 1), np.uint8)}, "intensity of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        PointCloud(**arrays)


def test_numbers_of_other_types_become_float32() -> None:
    assert PointCloud([[0, 1, 2]]).points.dtype == np.float32  # type: ignore[arg-type]
