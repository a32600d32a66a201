"""The frame of a program that plays images to the node: ROS, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException

from diff2i2p_core.errors import InputError


def play_as_program(name: str, play: Callable[[], int]) -> int:
    """The exit status of `play`, run within ROS: 2 and one line where it refuses, 130 where it is stopped."""
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
