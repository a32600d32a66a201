"""The camera_info messages of a bag's topic over time."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Calibrations:
    """Adds messages in the bag's order, then finds the one in force at an image."""

    distinct: list[Any] = field(default_factory=list)
    """The messages that differ from the one before, headers aside."""
    _received: list[int] = field(default_factory=list)
    """When each of these was recorded, in nanoseconds."""
    _of_stamp: dict[int, int] = field(default_factory=dict)
    """The index of the message with a stamp."""

    def add(self, message: Any, stamp: int, received: int) -> None:
        """Add the next message; stamp and time of recording in nanoseconds."""
        if not self.distinct or _content(message) != _content(self.distinct[-1]):
            self.distinct.append(message)
            self._received.append(received)
        self._of_stamp[stamp] = len(self.distinct) - 1

    def at(self, stamp: int, received: int) -> int:
        """The index in `distinct` of the message in force at an image.

        It is the one of the image's stamp, as drivers send them; else, as in the node, the last one before
        the image. An image before all messages gets the first.
        """
        before = max(bisect_right(self._received, received) - 1, 0)
        return self._of_stamp.get(stamp, before)


def _content(message: Any) -> tuple[Any, ...]:
    roi = message.roi
    return (
        (message.width, message.height, message.distortion_model),
        *(np.asarray(part, float).tobytes() for part in (message.d, message.k, message.p)),
        (message.binning_x, message.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height),
    )
