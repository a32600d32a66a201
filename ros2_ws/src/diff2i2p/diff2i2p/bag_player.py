"""Plays a bag's camera and transforms in the bag's time, with /clock, for `diff2i2p replay --live`.

    python -m diff2i2p.bag_player BAG LOG --image /camera/image_raw --info /camera/camera_info --rate 0.5 \
        --last-stamp 1700000000000000000

Messages are published as recorded, on their original topics. Writes one JSON line per image to LOG: stamp
(ns) and published (monotonic ns).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from diff2i2p.player_program import play_as_program
from diff2i2p.poses import nanoseconds, stamp_from
from diff2i2p_core.errors import InputError
from diff2i2p_core.messages.bag_reader import Bag
from diff2i2p_core.messages.kinds import TRANSFORMS

DISCOVERY_TIMEOUT = 120.0
"""Seconds for the node to load its map and subscribe."""
SETTLE = 1.0
"""Seconds between matching the camera and the first message, so that transforms and clock match, too."""
CLOCK_PERIOD = 0.01
LAST_ANSWER = 20.0
"""Maximum seconds to wait for the result of the last image."""
STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class BagPlayer(Node):
    """Publishes a bag's messages and time. Reads from /diagnostics which image was processed last."""

    def __init__(self, bag: Bag, arguments: argparse.Namespace) -> None:
        super().__init__("bag_player")
        self._bag = bag
        self._camera = [*arguments.image, *arguments.info, *arguments.depth]
        self._images, self._infos, self._rate = arguments.image, arguments.info, arguments.rate
        self._left_out: str = arguments.leave_out
        self._end = 0
        """Where to stop in the bag, in nanoseconds: a little after the last image."""
        self._last_stamp: int = arguments.last_stamp
        self._bag_time = self.create_publisher(Clock, "/clock", QoSProfile(depth=1))
        self._types: dict[str, Any] = {}
        self._publishers_of: dict[str, Any] = {}
        for topic, received, kind, _ in self._messages():
            if topic in self._images:
                self._end = received + round(arguments.after_last * 1e9)
            if topic not in self._types:
                self._types[topic] = _message_class(kind)
                static = topic.endswith("tf_static")
                camera = qos_profile_sensor_data
                qos = camera if topic in self._camera else STATIC_QOS if static else QoSProfile(depth=100)
                self._publishers_of[topic] = self.create_publisher(self._types[topic], topic, qos)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self._worked_on = 0

    def play(self, log: Any) -> None:
        """Play until the result of the last image is in. TimeoutError if nobody subscribes."""
        first, calibrations = self._first()
        self._wait_matched()
        # A driver repeats the calibration; a bag may have it only after the first image.
        for topic, calibration in calibrations.items():
            self._publishers_of[topic].publish(calibration)
        self._run_clock(first, SETTLE)
        begun = time.monotonic()
        for topic, received, _, data in self._messages():
            if received > self._end:
                break
            due = begun + (received - first) / 1e9 / self._rate
            while (wait := due - time.monotonic()) > 0:
                self._tick(first + round((time.monotonic() - begun) * self._rate * 1e9))
                rclpy.spin_once(self, timeout_sec=min(wait, CLOCK_PERIOD))
            self._tick(received)
            content = self._without_left_out(data) if topic.endswith(("tf", "tf_static")) else data
            published = time.monotonic_ns()
            self._publishers_of[topic].publish(content)
            if topic in self._images:
                stamp = nanoseconds(deserialize_message(data, self._types[topic]).header.stamp)
                log.write(json.dumps({"stamp": stamp, "published": published}) + "\n")
                log.flush()
        until = time.monotonic() + LAST_ANSWER
        while self._worked_on < self._last_stamp and time.monotonic() < until:
            rclpy.spin_once(self, timeout_sec=0.1)

    def _messages(self) -> Any:
        topics = [*self._camera, *self._bag.topics((TRANSFORMS,))]
        return self._bag.read_raw(topics)

    def _first(self) -> tuple[int, dict[str, bytes]]:
        """The time of the first message, and the first calibration of each camera."""
        first = next(received for _, received, _, _ in self._messages())
        calibrations: dict[str, bytes] = {}
        for topic, _, _, data in self._messages():
            if topic in self._infos:
                calibrations.setdefault(topic, data)
                if len(calibrations) == len(set(self._infos)):
                    break
        return first, calibrations

    def _wait_matched(self) -> None:
        until = time.monotonic() + DISCOVERY_TIMEOUT
        wanted = [self._publishers_of[topic] for topic in self._camera]
        while not all(p.get_subscription_count() for p in wanted) or not self.count_publishers(
            "/diagnostics"
        ):
            if time.monotonic() > until:
                raise TimeoutError(f"no node subscribed to the camera within {DISCOVERY_TIMEOUT:.0f} s")
            rclpy.spin_once(self, timeout_sec=0.1)

    def _run_clock(self, stamp: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tick(stamp)
            rclpy.spin_once(self, timeout_sec=CLOCK_PERIOD)

    def _tick(self, stamp: int) -> None:
        self._bag_time.publish(Clock(clock=stamp_from(stamp)))

    def _without_left_out(self, data: bytes) -> bytes:
        """Leave out transforms to the frame that the node publishes, such as another localizer's."""
        message = deserialize_message(data, TFMessage)
        others = [t for t in message.transforms if t.child_frame_id.lstrip("/") != self._left_out]
        if len(others) == len(message.transforms):
            return data
        return serialize_message(TFMessage(transforms=others))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            for row in status.values:
                if row.key == "last_stamp":
                    seconds, fraction = row.value.split(".")
                    self._worked_on = max(self._worked_on, int(seconds) * 10**9 + int(fraction))


def _message_class(kind: str) -> Any:
    """The class for a type such as `sensor_msgs/msg/Image`."""
    package, _, name = kind.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ImportError:
        raise InputError(
            f"the ROS package {package} is not installed; install it, or replay without the node"
        ) from None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bag", type=Path, help="bag folder or file")
    parser.add_argument("log", type=Path, help="JSON lines to write")
    for name, what in (("image", "image"), ("info", "camera_info"), ("depth", "depth")):
        text = f"{what} topic; may be repeated, for several cameras"
        parser.add_argument(f"--{name}", action="append", default=[], help=text, required=name != "depth")
    parser.add_argument(
        "--rate", type=float, default=1.0, help="playback speed: seconds of the bag per second"
    )
    parser.add_argument("--after-last", type=float, default=1.0, help="seconds to play after the last image")
    parser.add_argument("--last-stamp", type=int, required=True, help="wait for the result of this image, ns")
    parser.add_argument("--leave-out", default="", help="frame whose transforms to leave out")
    arguments = parser.parse_args()

    def play() -> int:
        with Bag(arguments.bag) as bag, arguments.log.open("w", encoding="utf-8") as log:
            player = BagPlayer(bag, arguments)
            player.play(log)
            player.destroy_node()
        return 0

    return play_as_program("bag_player", play)


if __name__ == "__main__":
    sys.exit(main())
