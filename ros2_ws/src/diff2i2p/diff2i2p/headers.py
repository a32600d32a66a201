"""What a message's header and texts may be. Every fault raises one InputError of one line."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time

from diff2i2p_core.errors import InputError, quoted

LONGEST_NAME = 255
LAST_SECOND = 2**31 - 61
"""A minute before the end of the type of `sec`: a stamp may still be moved on."""


def check_header(header: Any, what: str) -> None:
    """Refuse a stamp that is no time and a frame_id that is no name; an empty one is left to the caller."""
    check_stamp(header.stamp, what)
    check_frame(header.frame_id, what)


def check_stamp(stamp: Time, what: str) -> None:
    """Refuse a message without time: it could not be placed in TF."""
    if (stamp.sec, stamp.nanosec) == (0, 0):
        raise InputError(f"{what}: the time stamp is zero; let its driver stamp it")
    if not 0 <= stamp.sec <= LAST_SECOND or stamp.nanosec >= 1_000_000_000:
        raise InputError(
            f"{what}: the time stamp {stamp.sec} s {stamp.nanosec} ns is invalid; fix the driver"
        )


def check_frame(frame: str, what: str) -> None:
    """Refuse what no frame is called: control characters, names without end."""
    if len(frame) > LONGEST_NAME or not frame.isprintable():
        raise InputError(f"{what}: the frame_id {quoted(frame)} is no name; fix its publisher")


def check_map_frame(frame: str, map_frame: str, what: str, fix: str) -> None:
    """Refuse a message that is not in the map's frame."""
    if frame.removeprefix("/") != map_frame:
        raise InputError(
            f"{what}: it is in frame {quoted(frame.removeprefix('/'))}, the parameter map_frame is "
            f"'{map_frame}'; {fix}"
        )
