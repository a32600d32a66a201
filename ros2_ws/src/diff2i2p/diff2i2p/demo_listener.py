"""Records what the localization node says: transforms, poses and diagnostics.

    python -m diff2i2p.demo_listener LOG

Writes JSON lines to LOG: `{"kind": "ready"}` once /tf has a publisher, then `{"kind": "tf", stamp, parent,
child, translation, quaternion, received}`, `{"kind": "pose", stamp, parent, translation, quaternion,
covariance, received}` and `{"kind": "diagnostics", level, message, values, received}`; stamps in nanoseconds,
received in monotonic nanoseconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import IO, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage

from diff2i2p.poses import nanoseconds


class Listener(Node):
    """Writes one line per transform, pose and diagnostic status."""

    def __init__(self, log: IO[str]) -> None:
        super().__init__("demo_listener")
        self._log = log
        self._tf = self.create_subscription(TFMessage, "/tf", self._on_tf, QoSProfile(depth=100))
        self.create_subscription(PoseWithCovarianceStamped, "pose", self._on_pose, QoSProfile(depth=100))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self._ready_timer = self.create_timer(0.05, self._check_ready)

    def _check_ready(self) -> None:
        if self.count_publishers("/tf") and self.count_publishers("/diagnostics"):
            self._write(kind="ready")
            self.destroy_timer(self._ready_timer)

    def _on_tf(self, message: TFMessage) -> None:
        received = time.monotonic_ns()
        for transform in message.transforms:
            t, q = transform.transform.translation, transform.transform.rotation
            self._write(
                kind="tf",
                stamp=nanoseconds(transform.header.stamp),
                parent=transform.header.frame_id,
                child=transform.child_frame_id,
                translation=[t.x, t.y, t.z],
                quaternion=[q.x, q.y, q.z, q.w],
                received=received,
            )

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        pose = message.pose.pose
        p, q = pose.position, pose.orientation
        self._write(
            kind="pose",
            stamp=nanoseconds(message.header.stamp),
            parent=message.header.frame_id,
            translation=[p.x, p.y, p.z],
            quaternion=[q.x, q.y, q.z, q.w],
            covariance=[float(value) for value in message.pose.covariance],
            received=time.monotonic_ns(),
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        received = time.monotonic_ns()
        for status in message.status:
            if not status.name.endswith(": localization"):
                continue
            values = {row.key: row.value for row in status.values}
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            self._write(
                kind="diagnostics", level=level, message=status.message, values=values, received=received
            )

    def _write(self, **row: Any) -> None:
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", help="JSON lines to write")
    arguments = parser.parse_args()
    rclpy.init()
    try:
        with open(arguments.log, "w", encoding="utf-8") as log:  # noqa: PTH123
            rclpy.spin(Listener(log))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
