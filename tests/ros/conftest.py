"""A robot and localization nodes on real DDS, confined to this host."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from ros_harness import Robot, Spinning

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "ros2_ws/src/diff2i2p"
os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(PACKAGE / "config/fastdds.xml")

if importlib.util.find_spec("rclpy"):

    @pytest.fixture(scope="session")
    def ros_context() -> Iterator[Any]:
        from ros_harness import new_context

        context = new_context()
        yield context
        context.try_shutdown()

    @pytest.fixture
    def robot(ros_context: Any) -> Iterator[Robot]:
        from ros_harness import Robot, Spinning

        with closing(Spinning(Robot(ros_context), ros_context)) as spinning:
            yield cast("Robot", spinning.node)

    @pytest.fixture
    def launch_node(ros_context: Any, robot: Robot) -> Iterator[Callable[..., Spinning]]:
        """Starts a node with the scripted localizer; the robot exists already."""
        from ros_harness import start_node

        with ExitStack() as started:
            yield lambda **parameters: started.enter_context(closing(start_node(ros_context, **parameters)))


@pytest.fixture
def node_environment() -> dict[str, str]:
    paths = (str(REPO), str(PACKAGE), str(REPO / "tests/helpers"), os.environ.get("PYTHONPATH", ""))
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


@pytest.fixture
def run_script(node_environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python with a script of this folder, or an option; ends it with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str, *arguments: object) -> subprocess.Popen[str]:
        first = script if script.startswith("-") else str(Path(__file__).parent / script)
        command = [sys.executable, first, *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": node_environment["PYTHONPATH"]}
        started.append(subprocess.Popen(command, env=environment, text=True, start_new_session=True))
        return started[-1]

    yield run
    running = [process for process in started if process.poll() is None]
    for process in running:
        process.terminate()
    assert [_status(process) for process in running] == [0] * len(running)


def _status(process: subprocess.Popen[str]) -> int:
    """The exit status; a process that does not end is killed with all that it started."""
    try:
        return process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


@pytest.fixture
def run_node(run_script: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Starts the node with parameters, or a script that contains one."""

    def run(script: str = "", **parameters: Any) -> subprocess.Popen[str]:
        command = [script] if script else ["-m", "diff2i2p.localization_node"]
        values = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        return run_script(*command, "--ros-args", *values)

    return run


@pytest.fixture
def map_file(tmp_path: Path) -> str:
    """A map file for the scripted localizer, which only checks that it exists."""
    path = tmp_path / "room.map"
    path.touch()
    return str(path)
