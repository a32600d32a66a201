"""The executable `localization_node`, also `python -m diff2i2p.localization_node --ros-args ...`."""

from __future__ import annotations

import signal
import sys

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from diff2i2p.node import LocalizationNode


def main(arguments: list[str] | None = None) -> int:
    """Spin the node until it is interrupted. Exit status 2 if a parameter has a wrong type or range."""
    rclpy.init(args=arguments)
    try:
        node = LocalizationNode()
    except ParameterException as error:
        print(f"localization_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():  # if not, a callback was publishing during the shutdown
            raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C arrives twice under a launch file
        executor.shutdown()  # not left to the garbage collector, which may free its parts before it
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
