"""Checks of message headers and names. Every fault raises an InputError of one line."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time

from diff2i2p_core.errors import InputError, quoted

LONGEST_NAME = 255
LAST_SECOND = 2**31 - 61
"""One minute before `sec` overflows, so that a stamp can still be moved ahead."""


def check_header(header: Any, what: str) -> None:
    """Refuse an invalid stamp or frame_id. An empty frame_id is left to the caller."""
    check_stamp(header.stamp, what)
    check_frame(header.frame_id, what)


def check_stamp(stamp: Time, what: str) -> None:
    """Refuse a message without a valid time: it could not be placed in TF."""
    if (stamp.sec, stamp.nanosec) == (0, 0):
        raise InputError(f"{what}: the time stamp is zero; its driver must stamp it")
    if not 0 <= stamp.sec <= LAST_SECOND or stamp.nanosec >= 1_000_000_000:
        raise InputError(
            f"{what}: the time stamp {stamp.sec} s {stamp.nanosec} ns is invalid; fix the driver"
        )


def check_frame(frame: str, what: str) -> None:
    """Refuse names that are too long or have control characters."""
    if len(frame) > LONGEST_NAME or not frame.isprintable():
        raise InputError(f"{what}: the frame_id {quoted(frame)} is not a valid name; fix its publisher")


def check_map_frame(frame: str, map_frame: str, what: str, fix: str) -> None:
    """Refuse a message that is not in the map's frame."""
    if frame.removeprefix("/") != map_frame:
        raise InputError(
            f"{what}: it is in frame {quoted(frame.removeprefix('/'))}, the parameter map_frame is "
            f"'{map_frame}'; {fix}"
        )
