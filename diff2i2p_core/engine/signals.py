"""Ending a run when it is asked to: SIGINT (Ctrl-C) and SIGTERM finish the step and save."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A run ended early, saved. `status` is the exit status that shells know for the signal."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StopRequest:
    """Within the block, the first signal is noted, and said so; the second acts as it would have without."""

    received: signal.Signals | None = None

    def __enter__(self) -> StopRequest:
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self.__exit__()
        # print() is not safe in a handler that may have interrupted a print().
        os.write(
            2, f"\n{self.received.name}: ending after this step; once more ends at once, unsaved\n".encode()
        )


def ignore_stop_signals(_worker: int) -> None:
    """For helper processes, which get the terminal's and the cluster's signals as well: the run ends them."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
