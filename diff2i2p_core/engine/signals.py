"""Stops a run on SIGINT (Ctrl-C) or SIGTERM: the step is finished and saved."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A run was stopped early and saved. `status` is the shell's exit status for the signal."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StopRequest:
    """Within the block, the first signal is recorded and reported; the second has its usual effect."""

    received: signal.Signals | None = None

    def __enter__(self) -> StopRequest:
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopped(self, step: int, steps: int, checkpoint: Path) -> Stopped:
        """What to raise after the step was saved. Without a signal here, another process received one."""
        by = "another process" if self.received is None else self.received.name
        return Stopped(
            f"stopped by {by} after step {step} of {steps}, saved in {checkpoint}",
            128 + (self.received or signal.SIGTERM),
        )

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self.__exit__()
        # print() is not safe in a handler, which may have interrupted another print().
        os.write(
            2,
            f"\n{self.received.name}: stopping after this step; another stops at once, unsaved\n".encode(),
        )


def ignore_stop_signals(_worker: int) -> None:
    """For helper processes, which also get the signals of terminal and cluster: the run stops them."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
