"""A Dask scheduler and its workers as processes on the loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
START_SECONDS = 600.0


@dataclass(frozen=True)
class Cluster:
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextmanager
def started_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Ready for work. Files go to `folder`."""
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    from distributed import Client

    file = folder / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])}

    def start(*arguments: object) -> subprocess.Popen[bytes]:
        # Workers are in a folder of their own, so that a relative path would not work.
        command = [sys.executable, "-m", "dask", *map(str, arguments), "--scheduler-file", str(file)]
        with (folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    processes = [start("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--no-show")]
    try:
        for _ in range(workers):
            processes.append(start("worker", "--nthreads", 1, "--no-nanny", "--no-dashboard"))
        until = time.monotonic() + START_SECONDS
        while not (address := _address(file)):
            assert time.monotonic() < until, (folder / "log.txt").read_text()
            time.sleep(0.05)
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=START_SECONDS)
        yield Cluster(address, processes[0], processes[1:])
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def _address(file: Path) -> str:
    """From the file that the scheduler writes; empty until it is complete."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return ""
