"""The outputs without DDS: the test sets the clock, the timer and the subscribers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from geometry_msgs.msg import TransformStamped
from ros_harness import stamp_of
from sensor_msgs.msg import Image

from diff2i2p.images import image_to_rgb
from diff2i2p.job import Job
from diff2i2p.outputs import Outputs
from diff2i2p.own_transform import OwnTransform
from diff2i2p.parameters import Parameters
from diff2i2p.pipeline import Result
from diff2i2p.poses import stamp_from, stamped_pose, stamped_transform
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.localization.result import Localization

SECOND = 10**9
IMAGE = 100 * SECOND
"""Stamp of the localized image."""
PARAMETERS = Parameters(odom_frame="odom", transform_rate=4.0, transform_hold=30.0, transform_tolerance=0.5)


class Clockwork:
    """Replaces the node: the test sets its clock and calls its timer; it records messages."""

    def __init__(self, subscribers: int = 0) -> None:
        self.now = IMAGE
        self.period = 0.0
        self.sent: list[TransformStamped] = []
        self.messages: dict[str, list[Any]] = {}
        self._subscribers = subscribers

    def create_publisher(self, kind: type, topic: str, *arguments: Any, **named: Any) -> Any:
        messages = self.messages[topic] = list[Any]()
        return SimpleNamespace(publish=messages.append, get_subscription_count=lambda: self._subscribers)

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now))

    def create_timer(self, period: float, callback: Any) -> object:
        self.period, self.callback = period, callback
        return callback

    def sendTransform(self, transform: TransformStamped) -> None:
        self.sent.append(transform)

    def at(self, now: int) -> list[int]:
        """The stamps of the messages that are sent when the timer fires at a time."""
        self.sent.clear()
        self.now = now
        self.callback()
        return [stamp_of(transform) for transform in self.sent]


@pytest.fixture
def node() -> Clockwork:
    """After an image was localized."""
    clockwork = Clockwork()
    node: Any = clockwork
    outputs = Outputs(node, node, OwnTransform("map"))
    outputs.start_repeating(PARAMETERS)
    stamp = stamp_from(IMAGE)
    outputs.publish(
        Result(
            Localization.refused("not looked at here"),
            np.zeros((1, 1, 3), np.uint8),
            pose=stamped_pose("map", stamp, np.eye(4), np.eye(6)),
            transform=stamped_transform("map", "odom", stamp, np.eye(4)),
        ),
        PARAMETERS,
    )
    return clockwork


def test_its_stamp_is_now_plus_the_tolerance(node: Clockwork) -> None:
    assert node.period == 0.25
    assert node.at(IMAGE + SECOND) == [IMAGE + SECOND + SECOND // 2]
    assert (node.sent[0].header.frame_id, node.sent[0].child_frame_id) == ("map", "odom")


def test_it_is_repeated_until_it_is_too_old(node: Clockwork) -> None:
    assert len(node.at(IMAGE + 30 * SECOND)) == 1
    assert node.at(IMAGE + 30 * SECOND + 1) == []


def test_a_clock_that_stands_or_goes_back_repeats_nothing(node: Clockwork) -> None:
    assert len(node.at(IMAGE + 2 * SECOND)) == 1
    assert node.at(IMAGE + 2 * SECOND) == []
    assert node.at(IMAGE + 1 * SECOND) == []
    assert len(node.at(IMAGE + 3 * SECOND)) == 1


def test_an_image_of_a_later_time_than_the_clocks_is_not_repeated(node: Clockwork) -> None:
    assert node.at(IMAGE - 1) == []
    assert len(node.at(IMAGE)) == 1


def test_the_debug_image_is_the_rectified_image() -> None:
    """A dot that the lens puts at a pixel is drawn where the pinhole camera sees it."""
    camera = Camera(640, 480, 500, 500, 319.5, 239.5, "plumb_bob", (0.3, 0.0, 0.0, 0.0, 0.0))
    ray = np.array([[0.4, 0.2, 1.0]])
    radius = ray[0, 0] ** 2 + ray[0, 1] ** 2
    seen = camera.undistorted().project(ray * [1 + 0.3 * radius, 1 + 0.3 * radius, 1])[0][0]
    image = np.full((480, 640, 3), 40, np.uint8)
    cv2.circle(image, tuple(int(v) for v in np.rint(seen)), 5, (255, 255, 255), -1)
    node: Any = Clockwork(subscribers=1)
    job = Job(Image(), camera, "camera", received=0.0)
    job.message.header.stamp = stamp_from(IMAGE)
    points = PointCloud(np.zeros((1, 3), np.float32))
    localizer: Any = SimpleNamespace(map=SimpleNamespace(cloud=points, spacing=0.05))

    result = Result(Localization.refused("x"), image)
    Outputs(node, None, OwnTransform("map")).publish_pictures(result, job, localizer, "map")

    (message,) = node.messages["~/debug_image"]
    assert stamp_of(message) == IMAGE and message.header.frame_id == "camera"
    picture = image_to_rgb(message)
    rows, columns = np.nonzero(picture[240:, :, 0] > 128)  # below the words
    expected = camera.undistorted().project(ray)[0][0]
    assert np.hypot(columns.mean() - expected[0], rows.mean() + 240 - expected[1]) < 1.0
    assert np.hypot(*(seen - expected)) > 10
