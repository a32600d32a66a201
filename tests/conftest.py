"""Fixtures that every test may use, and an environment that keeps ROS on this host."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]

# Set before rclpy or torch is imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 101))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_ROS_HOME = tempfile.mkdtemp(prefix="diff2i2p-tests-ros-")
os.environ["ROS_HOME"] = _ROS_HOME
os.environ["ROS_LOG_DIR"] = str(Path(_ROS_HOME) / "log")


def pytest_unconfigure() -> None:
    shutil.rmtree(_ROS_HOME, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ros") and importlib.util.find_spec("rclpy") is None:
        pytest.skip("needs ROS 2 (rclpy): run `make setup`, or source a ROS 2 installation")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


def _shared_folder(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable) or REPO.parent / "shared" / default).resolve()
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: name one with {variable}")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real recordings: $DIFF2I2P_DATA, else ../shared/data; the test is skipped without them."""
    return _shared_folder("DIFF2I2P_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Inputs and outputs of the released network: $DIFF2I2P_GOLDEN, else ../shared/golden."""
    return _shared_folder("DIFF2I2P_GOLDEN", "golden")
