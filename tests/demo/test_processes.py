"""Child processes end with the work that needs them, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from diff2i2p_core.demo import processes
from diff2i2p_core.demo.processes import children, wait_until
from diff2i2p_core.errors import InputError

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_gone(pids: list[int]) -> None:
    until = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < until, f"still running: {[pid for pid in pids if is_running(pid)]}"
        time.sleep(0.02)


def pids_in(log: Path) -> list[int]:
    until = time.monotonic() + 20
    while not log.exists() or len(log.read_text().split()) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    return [int(word) for word in log.read_text().split()]


def test_a_stubborn_child_and_its_own_child_end_with_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.3)
    with children(dict(os.environ), tmp_path) as group:
        group.start("stubborn", [sys.executable, "-c", STUBBORN])
        pids = pids_in(tmp_path / "stubborn.log")
        assert all(is_running(pid) for pid in pids)
    wait_gone(pids)


def test_a_failing_child_is_reported_with_its_last_words_and_ends_the_others(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"(?s)player process ended with status 3.*no camera here"),
        children(dict(os.environ), tmp_path) as group,
    ):
        group.start("node", [sys.executable, "-c", "import time; time.sleep(60)"])
        group.start("player", [sys.executable, "-c", "print('no camera here'); raise SystemExit(3)"])
        wait_until(lambda: False, group, "never", 20)
    assert group.running == 0


def test_waiting_has_a_timeout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the moon"), children(dict(os.environ), tmp_path) as group:
        wait_until(lambda: False, group, "the moon", 0.1)


def test_sigterm_to_the_parent_leaves_nothing_behind(tmp_path: Path) -> None:
    parent = f"""
import os, sys, time
from pathlib import Path
from typing import Any
from diff2i2p_core.demo.processes import children
with children(dict(os.environ), Path({str(tmp_path)!r})) as group:
    group.start("child", [sys.executable, "-c", {STUBBORN.replace("SIG_IGN", "SIG_DFL")!r}])
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stderr=subprocess.DEVNULL)
    pids = pids_in(tmp_path / "child.log")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) != 0
    wait_gone(pids)


def test_an_interrupt_while_a_process_starts_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    class Slow(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            started.append(self)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    with pytest.raises(KeyboardInterrupt), children(dict(os.environ), tmp_path) as group:
        group.start("sleeper", ["sleep", "60"])
    assert started[0].poll() is not None
