"""Child processes that are always stopped with their parent's work, with their output in log files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from diff2i2p_core.errors import InputError

STOP_SECONDS = 6.0
"""Seconds after SIGINT. A process that is still running then gets SIGTERM, then SIGKILL."""


class Child:
    """A running process. It has its own process group, so that Ctrl-C reaches it only through us."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.poll()

    def last_lines(self, count: int = 12) -> str:
        """The end of its output."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-count:])

    def check(self) -> None:
        """InputError with its last output if it has failed."""
        status = self.status
        if status not in (None, 0):
            raise InputError(
                f"the {self.name} process ended with status {status}; {self.log} ends:\n{self.last_lines()}"
            )

    def stop(self) -> None:
        """Stop it and everything it started."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.status is not None:
                break
            self._signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self._signal(signal.SIGKILL)  # processes that it may have started
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class Children:
    """Starts processes. All are stopped when the `with` block ends, also by SIGTERM."""

    def __init__(self, environment: dict[str, str], log_folder: Path) -> None:
        self._environment = environment
        self._log_folder = log_folder
        self._children: list[Child] = []

    def start(self, name: str, command: Sequence[str]) -> Child:
        with _interrupts_held():  # a process that is being started when Ctrl-C comes must be stopped, too
            child = Child(name, command, self._environment, self._log_folder / f"{name}.log")
            self._children.append(child)
        return child

    @property
    def running(self) -> int:
        """The number of processes that were started and not stopped."""
        return len(self._children)

    def check(self) -> None:
        """InputError if any of them failed."""
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """Stop all, last started first. An interrupt meanwhile does not leave others running."""
        interrupted = False
        while self._children:
            child = self._children[-1]
            try:
                child.stop()
            except KeyboardInterrupt:
                interrupted = True
                continue
            self._children.pop()
        if interrupted:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP wait until the `with` block ends."""
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {
        number: signal.signal(number, lambda number, frame: caught.append(number)) for number in signals
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt


@contextlib.contextmanager
def children(environment: dict[str, str], log_folder: Path) -> Iterator[Children]:
    """Processes for the duration of a `with` block. SIGTERM and SIGHUP end the block like Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    group = Children(environment, log_folder)
    former = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield group
    finally:
        group.stop()
        for number, handler in former.items():
            signal.signal(number, handler)


def wait_until(condition: Callable[[], bool], group: Children, what: str, timeout: float) -> None:
    """Poll until `condition()` is true. InputError if a child fails, or after `timeout` seconds."""
    until = time.monotonic() + timeout
    while not condition():
        group.check()
        if time.monotonic() > until:
            raise InputError(
                f"waited {timeout:.0f} s for {what} without success; see the logs of the processes"
            )
        time.sleep(0.05)
