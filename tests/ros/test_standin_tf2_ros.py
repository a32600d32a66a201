"""The stand-in for tf2_ros: chains, interpolation, and the cases without an answer."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from rclpy.duration import Duration
from rclpy.time import Time

from diff2i2p.poses import matrix_from_transform, stamp_from, stamped_transform
from diff2i2p.standins.tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    LookupException,
    TransformException,
)
from diff2i2p_core.geometry.se3 import exp, invert

SECOND = 10**9


def _put(buffer: Buffer, parent: str, child: str, second: float, matrix: np.ndarray) -> None:
    stamp = stamp_from(round(second * SECOND))
    buffer.set_transform(stamped_transform(parent, child, stamp, matrix), "test")


def _fix(buffer: Buffer, parent: str, child: str, matrix: np.ndarray) -> None:
    buffer.set_transform_static(stamped_transform(parent, child, stamp_from(0), matrix), "test")


def _look(buffer: Buffer, target: str, source: str, second: float, timeout: float = 0.0) -> np.ndarray:
    at = Time(nanoseconds=round(second * SECOND))
    found = buffer.lookup_transform(target, source, at, Duration(nanoseconds=round(timeout * SECOND)))
    assert (found.header.frame_id, found.child_frame_id) == (target, source)
    return matrix_from_transform(found.transform)


def test_chain_over_a_common_ancestor_in_both_directions() -> None:
    """odom <- base (moving) <- lidar, camera (fixed): any frame from any other, at a time between stamps."""
    buffer = Buffer()
    base_from_lidar, base_from_camera = exp([0.1, 0.2, 0.3, 1, 2, 3]), exp([-1.2, 0.1, 0.0, 0.5, 0, 1])
    _fix(buffer, "base", "lidar", base_from_lidar)
    _fix(buffer, "base", "camera", base_from_camera)
    start = exp([0, 0, 0.5, 1, 0, 0])
    turn = exp([0, 0, 0.8, 0, 0, 0])
    _put(buffer, "odom", "base", 10, start)
    _put(buffer, "odom", "base", 11, start @ turn)
    np.testing.assert_allclose(
        _look(buffer, "lidar", "camera", 3), invert(base_from_lidar) @ base_from_camera, atol=1e-12
    )
    halfway = start @ exp([0, 0, 0.2, 0, 0, 0])  # a quarter of the turn about the base's own axis
    np.testing.assert_allclose(_look(buffer, "odom", "camera", 10.25), halfway @ base_from_camera, atol=1e-12)
    np.testing.assert_allclose(
        _look(buffer, "camera", "odom", 10.25), invert(halfway @ base_from_camera), atol=1e-12
    )


def test_positions_are_interpolated_linearly_also_when_stamps_come_out_of_order() -> None:
    buffer = Buffer()
    for second in (3, 1, 2):
        _put(buffer, "odom", "base", second, exp([0, 0, 0, second**2, 0, 0]))
    assert _look(buffer, "odom", "base", 1.5)[0, 3] == pytest.approx(2.5)
    assert _look(buffer, "odom", "base", 2.5)[0, 3] == pytest.approx(6.5)
    assert _look(buffer, "odom", "base", 2)[0, 3] == pytest.approx(4)


def test_time_zero_is_the_newest_common_time() -> None:
    buffer = Buffer()
    _put(buffer, "map", "odom", 1, np.eye(4))
    _put(buffer, "map", "odom", 2, exp([0, 0, 0, 10, 0, 0]))
    for second in (1, 2, 3):
        _put(buffer, "odom", "base", second, exp([0, 0, 0, second, 0, 0]))
    found = buffer.lookup_transform("map", "base", Time())
    assert (found.transform.translation.x, found.header.stamp.sec) == (12, 2)


def test_unknown_transforms_raise_an_exception() -> None:
    buffer = Buffer()
    _put(buffer, "odom", "base", 10, np.eye(4))
    _put(buffer, "odom", "base", 11, np.eye(4))
    _put(buffer, "island", "tree", 10, np.eye(4))
    for target, source, second, kind in (
        ("odom", "nobody", 10, LookupException),
        ("odom", "tree", 10, ConnectivityException),
        ("odom", "base", 9.9, ExtrapolationException),
        ("odom", "base", 11.1, ExtrapolationException),
    ):
        with pytest.raises(kind):
            _look(buffer, target, source, second)
    assert issubclass(ExtrapolationException, TransformException)


def test_history_ends_after_the_cache_time_and_clear_keeps_fixed_frames() -> None:
    buffer = Buffer(cache_time=Duration(seconds=2))
    for second in range(1, 8):
        _put(buffer, "odom", "base", second, np.eye(4))
    _fix(buffer, "base", "camera", np.eye(4))
    _look(buffer, "odom", "base", 5)
    with pytest.raises(ExtrapolationException):
        _look(buffer, "odom", "base", 4.9)
    buffer.clear()
    _look(buffer, "base", "camera", 1)
    with pytest.raises(LookupException):
        _look(buffer, "odom", "base", 5)


def test_invalid_transforms_are_not_stored() -> None:
    buffer = Buffer()
    _put(buffer, "a", "a", 1, np.eye(4))
    _put(buffer, "", "b", 1, np.eye(4))
    bad = stamped_transform("a", "b", stamp_from(SECOND), np.eye(4))
    for value in (float("nan"), 0.0):
        bad.transform.rotation.w = value
        buffer.set_transform(bad, "test")
    with pytest.raises(LookupException):
        _look(buffer, "a", "b", 1)


def test_a_loop_of_frames_does_not_hang() -> None:
    buffer = Buffer()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        _put(buffer, parent, child, 1, np.eye(4))
    _put(buffer, "x", "y", 1, np.eye(4))
    with pytest.raises(TransformException):
        _look(buffer, "a", "y", 1)


def test_a_lookup_waits_for_the_transform_but_not_longer() -> None:
    buffer = Buffer()
    _put(buffer, "odom", "base", 1, np.eye(4))
    later = threading.Timer(0.1, _put, (buffer, "odom", "base", 2, exp([0, 0, 0, 2, 0, 0])))
    later.start()
    assert _look(buffer, "odom", "base", 1.5, timeout=5)[0, 3] == pytest.approx(1)
    start = time.monotonic()
    with pytest.raises(ExtrapolationException):
        _look(buffer, "odom", "base", 3, timeout=0.1)
    assert 0.09 < time.monotonic() - start < 2
