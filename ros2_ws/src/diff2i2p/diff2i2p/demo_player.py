"""Plays the images of a posed RGB-D folder to the localization node. Each waits for the previous answer.

    python -m diff2i2p.demo_player FRAMES LOG --numbers 600,602 --start 1700000000 --rate 30

Writes one JSON line per image to LOG: number, stamp (ns), published (monotonic ns), answered (bool).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from diff2i2p.player_program import play_as_program
from diff2i2p.poses import stamp_from
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.rgbd_folder import PosedFrames

CAMERA_FRAME = "camera_optical"
DISCOVERY_TIMEOUT = 120.0
"""Seconds for the node to load its map and subscribe."""
ANSWER_TIMEOUT = 30.0


class Player(Node):
    """Publishes `image` and `camera_info`. Reads from /diagnostics which images were processed."""

    def __init__(self) -> None:
        super().__init__("demo_player")
        self._image = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self._camera_info = self.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._answered: set[str] = set()

    def wait_matched(self) -> None:
        """Wait until the node subscribes and its diagnostics arrive. TimeoutError if it does not."""

        def matched() -> bool:
            publishers = (self._image, self._camera_info)
            return (
                all(p.get_subscription_count() for p in publishers)
                and self.count_publishers("/diagnostics") > 0
            )

        if not self._spin_until(matched, DISCOVERY_TIMEOUT):
            raise TimeoutError(f"no node subscribed to the camera within {DISCOVERY_TIMEOUT:.0f} s")

    def send_camera(self, camera: Camera, stamp: int) -> None:
        self._camera_info.publish(camera_info(camera, stamp))

    def play(self, image: NDArray[np.uint8], camera: Camera, stamp: int) -> tuple[int, bool]:
        """Publish an image. Returns when (monotonic ns), and whether the node answered in time."""
        message = image_message(image, stamp)
        self.send_camera(camera, stamp)
        published = time.monotonic_ns()
        self._image.publish(message)
        key = f"{message.header.stamp.sec}.{message.header.stamp.nanosec:09d}"
        return published, self._spin_until(lambda: key in self._answered, ANSWER_TIMEOUT)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._answered |= {row.value for row in status.values if row.key == "last_stamp"}

    def _spin_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        until = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > until:
                return False
            rclpy.spin_once(self, timeout_sec=0.1)
        return True


def header(stamp: int) -> Header:
    return Header(frame_id=CAMERA_FRAME, stamp=stamp_from(stamp))


def image_message(image: NDArray[np.uint8], stamp: int) -> Image:
    """An RGB image (H, W, 3) as a message."""
    height, width = image.shape[:2]
    # as bytes: assigning an array takes a hundred times as long
    data = np.ascontiguousarray(image).tobytes()
    return Image(header=header(stamp), height=height, width=width, encoding="rgb8", step=3 * width, data=data)


def camera_info(camera: Camera, stamp: int) -> CameraInfo:
    k = camera.matrix
    model = "plumb_bob" if camera.distortion_model == "none" else camera.distortion_model
    distortion = [float(value) for value in camera.distortion] or [0.0] * 5
    message = CameraInfo(
        header=header(stamp), width=camera.width, height=camera.height, distortion_model=model, d=distortion
    )
    message.k = k.ravel()
    message.r = np.eye(3).ravel()
    message.p = np.hstack([k, np.zeros((3, 1))]).ravel()
    return message


def run(arguments: argparse.Namespace) -> int:
    frames = PosedFrames(arguments.frames)
    numbers = [int(word) for word in arguments.numbers.split(",")]
    index_of = {number: index for index, number in enumerate(frames.numbers)}
    player = Player()
    with Path(arguments.log).open("w", encoding="utf-8") as log:
        player.wait_matched()
        start = int(arguments.start * 1e9)
        player.send_camera(frames.camera, start)
        for number in numbers:
            image = frames[index_of[number]].image
            stamp = start + round(1e9 * (number - numbers[0] + 1) / arguments.rate)
            published, answered = player.play(image, frames.camera, stamp)
            row: dict[str, Any] = {
                "number": number,
                "stamp": stamp,
                "published": published,
                "answered": answered,
            }
            log.write(json.dumps(row) + "\n")
            log.flush()
    player.destroy_node()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("frames", help="posed RGB-D folder")
    parser.add_argument("log", help="JSON lines to write")
    parser.add_argument("--numbers", required=True, help="frame numbers, comma-separated")
    parser.add_argument("--start", type=float, required=True, help="seconds; the first stamp follows it")
    parser.add_argument("--rate", type=float, default=30.0, help="frame numbers per second, for the stamps")
    arguments = parser.parse_args()
    return play_as_program("demo_player", lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
