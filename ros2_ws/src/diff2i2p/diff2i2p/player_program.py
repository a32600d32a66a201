"""The shell of a program that plays images to the node: ROS set-up, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException

from diff2i2p_core.errors import InputError


def play_as_program(name: str, play: Callable[[], int]) -> int:
    """Run `play` within ROS. Returns its exit status; 2, with one line, for an error; 130 if interrupted."""
    rclpy.init()
    try:
        return play()
    except (InputError, TimeoutError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        rclpy.try_shutdown()
