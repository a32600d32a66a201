"""A robot and localization nodes on real DDS, confined to this host."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from ros_harness import Robot, Spinning

PACKAGE = Path(__file__).resolve().parents[2] / "ros2_ws/src/diff2i2p"
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
        """Starts a node with the scripted localizer; the robot is there already."""
        from ros_harness import start_node

        with ExitStack() as started:
            yield lambda **parameters: started.enter_context(closing(start_node(ros_context, **parameters)))


@pytest.fixture
def map_file(tmp_path: Path) -> str:
    """A map file for the scripted localizer, which wants no more than that it exists."""
    path = tmp_path / "room.map"
    path.touch()
    return str(path)
