"""Video over DDS: packets of H.264 in CompressedImage and FFMPEGPacket become images with their stamps."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from ros_harness import CAMERA_FRAME, Robot, stamp_of, wait_for
from scripted_localizer import HEIGHT, WIDTH, ScriptedLocalizer
from sensor_msgs.msg import CompressedImage

from diff2i2p import video_stream
from diff2i2p.poses import stamp_from
from diff2i2p.qos import video_qos

WARN, ERROR = 1, 2
SECOND = 10**9
FORMAT = "h264;yuv420p;mono8;mono8"
"""The pictures are brightness alone, so that it arrives as it was."""


def packets(count: int, key_every: int) -> list[bytes]:
    """Pictures of brightness 1, 2, 3, ... without loss."""
    av = pytest.importorskip("av", reason="needs the extra `video`")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base = Fraction(1, 10)
    encoder.options = {"tune": "zerolatency", "qp": "0", "g": str(key_every), "x264-params": "scenecut=0"}
    found = []
    for number in range(1, count + 1):
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        planes[:HEIGHT] = number
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.pts = number
        found += encoder.encode(picture)
    return [bytes(packet) for packet in [*found, *encoder.encode(None)]]


def stream(robot: Robot, node: Any, publisher: Any, kind: Any) -> None:
    """Join the video in its middle, lose a packet, and look at what is localized."""
    wait_for(publisher.get_subscription_count, "the node's subscription")
    robot.calibrate()
    sent = packets(12, key_every=4)
    for number in (3, 4, 5, 6, 8, 9, 10):
        message = kind(data=sent[number - 1])
        message.header.frame_id, message.header.stamp = CAMERA_FRAME, stamp_from(number * SECOND)
        setattr(message, "format" if kind is CompressedImage else "encoding", FORMAT)
        faults = node._health.counts["image_faults"]
        publisher.publish(message)
        if number in (5, 6, 9, 10):
            wait_for(partial(_has_pose, robot, number * SECOND), f"the pose of {number}")
        else:
            wait_for(partial(_has_faults, node, faults + 1), f"the fault of {number}")
            robot.wait_status(ERROR, "video that cannot be decoded, because packets before it are missing")
    localizer = node._session.pipeline.localizer
    assert isinstance(localizer, ScriptedLocalizer)
    assert [call.number for call in localizer.calls] == [5, 6, 9, 10]
    assert [stamp_of(pose) // SECOND for pose in robot.poses] == [5, 6, 9, 10]


def _has_pose(robot: Robot, stamp: int) -> bool:
    return stamp in map(stamp_of, robot.poses)


def _has_faults(node: Any, count: int) -> bool:
    return bool(node._health.counts["image_faults"] >= count)


def test_packets_in_compressed_images(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    pytest.importorskip("av", reason="needs the extra `video`")
    node = launch_node(map=map_file, image_transport="compressed").node
    stream(robot, node, robot.compressed, CompressedImage)


def test_packets_of_ffmpeg_image_transport(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    why = "needs the ROS package ffmpeg_image_transport_msgs"
    packet = pytest.importorskip("ffmpeg_image_transport_msgs.msg", reason=why).FFMPEGPacket
    pytest.importorskip("av", reason="needs the extra `video`")
    node = launch_node(map=map_file, image_transport="ffmpeg").node
    stream(robot, node, robot.create_publisher(packet, "image/ffmpeg", video_qos()), packet)


def test_without_the_message_package_the_node_names_it(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_stream, "FFMPEGPacket", None)
    launch_node(map=map_file, image_transport="ffmpeg")
    words = (
        "needs the ROS package ffmpeg_image_transport_msgs; apt install ros-jazzy-ffmpeg-image-transport-msgs"
    )
    robot.wait_status(ERROR, words)


def test_video_alone_is_named(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    robot.destroy_publisher(robot.image)
    robot.destroy_publisher(robot.compressed)
    video = robot.create_publisher(CompressedImage, "image/ffmpeg", video_qos())
    launch_node(map=map_file)
    robot.wait_status(ERROR, "video only, on /image/ffmpeg; set image_transport to ffmpeg")
    robot.create_camera()
    robot.wait_status(WARN, "no camera_info yet")
    robot.destroy_publisher(video)
