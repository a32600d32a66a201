"""When the last transform is published again: by a clock that the test sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from geometry_msgs.msg import TransformStamped
from ros_harness import stamp_of

from diff2i2p.outputs import Outputs
from diff2i2p.parameters import Parameters
from diff2i2p.pipeline import Result
from diff2i2p.poses import stamp_from, stamped_pose, stamped_transform
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.localization.result import Localization

SECOND = 10**9
IMAGE = 100 * SECOND
"""Stamp of the localized image."""
PARAMETERS = Parameters(odom_frame="odom", transform_rate=4.0, transform_hold=30.0, transform_tolerance=0.5)


class Clockwork:
    """Stands in for the node: a clock that is set, a timer that is called, publishers that do nothing."""

    def __init__(self) -> None:
        self.now = IMAGE
        self.period = 0.0
        self.sent: list[TransformStamped] = []
        publisher = SimpleNamespace(publish=lambda message: None, get_subscription_count=lambda: 0)
        self.create_publisher = lambda *arguments, **named: publisher

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now))

    def create_timer(self, period: float, callback: Any) -> object:
        self.period, self.callback = period, callback
        return callback

    def sendTransform(self, transform: TransformStamped) -> None:
        self.sent.append(transform)

    def at(self, now: int) -> list[int]:
        """The stamps of what is sent when the timer comes at a time."""
        self.sent.clear()
        self.now = now
        self.callback()
        return [stamp_of(transform) for transform in self.sent]


@pytest.fixture
def node() -> Clockwork:
    """After an image was localized."""
    node: Any = Clockwork()
    outputs = Outputs(node, node)
    outputs.start_repeating(PARAMETERS)
    stamp = stamp_from(IMAGE)
    outputs.publish(
        Result(
            Localization.refused("not looked at here"),
            np.zeros((1, 1, 3), np.uint8),
            Camera(1, 1, 1, 1, 0, 0),
            pose=stamped_pose("map", stamp, np.eye(4), np.eye(6)),
            transform=stamped_transform("map", "odom", stamp, np.eye(4)),
        ),
        PARAMETERS,
    )
    return node


def test_it_is_dated_from_now_with_the_tolerance(node: Clockwork) -> None:
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
