"""A run of tests always ends with its status, and names what was left running and what was skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]

START = """
import atexit, subprocess, sys, threading, time
import conftest
conftest.END_SECONDS = 0.5
"""
LEFT = """
def test_it():
    threading.Thread(target=time.sleep, args=(100,), name="forgotten").start()
    global process  # collected, it would warn
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    assert {good}
"""
EXIT = """
def test_it():
    atexit.register(time.sleep, 100)
"""
HANGS = """
def test_that_hangs():
    time.sleep(100)
"""


@pytest.mark.parametrize(
    ("test", "status", "words"),
    [
        pytest.param(LEFT.format(good=True), 0, ["left the process", "still ran: forgotten"], id="passed"),
        pytest.param(LEFT.format(good=False), 1, ["left the process", "still ran: forgotten"], id="failed"),
        pytest.param(EXIT, -14, ["most recent call first"], id="interpreter"),
        pytest.param(HANGS, 1, ["in test_that_hangs"], id="hangs"),
    ],
)
def test_a_run_ends(test: str, status: int, words: list[str], tmp_path: Path) -> None:
    done = run_tests(START + test, tmp_path, timeout=1 if test == HANGS else 50)
    assert done.returncode == status, done.stdout + done.stderr
    assert all(some in done.stderr for some in words), done.stderr


SKIPS = """
import pytest

def test_on_a_gpu():
    pytest.skip("needs a CUDA device")

@pytest.mark.parametrize("number", range(12))
def test_on_data(number):
    pytest.skip("no folder data")

def test_without():
    pass
"""


def test_a_run_says_what_was_skipped_and_why(tmp_path: Path) -> None:
    done = run_tests(SKIPS, tmp_path)
    lines = [line.strip() for line in done.stdout.splitlines() if "skipped:" in line]
    assert lines == ["12 skipped: no folder data", "1 skipped: needs a CUDA device"]


def run_tests(test: str, tmp_path: Path, timeout: int = 50) -> subprocess.CompletedProcess[str]:
    """pytest on a separate file, with this folder's conftest; a test that takes `timeout` seconds hangs."""
    (tmp_path / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", str(REPO / "pyproject.toml"), "-o"]
    command += [f"faulthandler_timeout={timeout}", "--basetemp", str(tmp_path / "temp")]
    environment = os.environ | {"PYTHONPATH": str(REPO / "tests")}
    return subprocess.run(
        [*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60
    )
