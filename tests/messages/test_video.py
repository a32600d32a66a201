"""Images of a bag as packets of H.264 or H.265."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
pytest.importorskip("av", reason="needs the extra `video`")
import av
from bag_writer import START, Sent, camera_info, compressed, write_bag

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.video import CODECS

TOPIC = "/camera/color/image_raw/compressed"
STEP = 10**8
WIDTH, HEIGHT = 160, 128


def picture(number: int) -> np.ndarray:
    """A bright disc that moves to the right."""
    image = np.full((HEIGHT, WIDTH, 3), (40, 60, 90), np.uint8)
    cv2.circle(image, (20 + 10 * number, 60), 15, (220, 180, 40), -1)
    return image


def packets(count: int, codec: str = "h264", **options: str) -> list[bytes]:
    """Each picture as a packet, with the options of the encoder."""
    return [packet for packet, _ in numbered_packets(count, codec, **options)]


def numbered_packets(count: int, codec: str = "h264", **options: str) -> list[tuple[bytes, int]]:
    """The same in the order of decoding, with the numbers of the pictures."""
    encoder: Any = av.CodecContext.create({"h264": "libx264", "hevc": "libx265"}[CODECS[codec]], "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base = Fraction(1, 10)
    quiet = {"x265-params": "log-level=none"} if CODECS[codec] == "hevc" else {}
    encoder.options = {"tune": "zerolatency", "crf": "10", **quiet, **options}
    found = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts = number
        found += encoder.encode(frame)
    return [(bytes(packet), packet.pts) for packet in [*found, *encoder.encode(None)]]


def bag(tmp_path: Path, data: list[bytes], codec: str = "h264") -> BagCamera:
    camera = Camera(WIDTH, HEIGHT, 130, 130, 79.5, 63.5)
    sent = [Sent("/camera/color/camera_info", START, camera_info(START, "camera", camera))]
    for number, packet in enumerate(data):
        at = START + number * STEP
        sent.append(Sent(TOPIC, at, compressed(at, "camera", packet, codec)))
    return BagCamera(write_bag(tmp_path / "bag", sent))


def number_of(camera: BagCamera, image: Any) -> float:
    """The number of the picture, from where its disc is."""
    red = camera.decode(image)[0][..., 0]
    return float((np.nonzero(red > 150)[1].mean() - 20) / 10)


@pytest.mark.parametrize("codec", CODECS)
def test_every_picture_comes_with_its_own_stamp(tmp_path: Path, codec: str) -> None:
    camera = bag(tmp_path, packets(8, codec), codec)
    images = list(camera.images())
    assert [image.stamp for image in images] == [START + n * STEP for n in range(8)]
    assert [number_of(camera, image) for image in images] == pytest.approx(range(8), abs=0.15)
    (last,) = camera.images([6])
    assert number_of(camera, last) == pytest.approx(6, abs=0.15)


def test_pictures_before_the_first_key_frame_cannot_be_used(tmp_path: Path) -> None:
    camera = bag(tmp_path, packets(9, g="4", **{"x264-params": "scenecut=0"})[1:])
    usable = []
    for image in camera.images():
        try:
            usable.append(round(number_of(camera, image)))
        except InputError as error:
            assert "is a packet of 'h264' video that cannot be decoded alone" in str(error)
    assert usable == [4, 5, 6, 7, 8]


def test_a_video_with_b_frames_gives_no_picture_of_another_packet(tmp_path: Path) -> None:
    coded = numbered_packets(12, tune="film", bf="3", **{"x264-params": "b-adapt=0"})
    numbers = [number for _, number in coded]
    assert numbers != sorted(numbers)
    camera = bag(tmp_path, [packet for packet, _ in coded])
    for number, image in zip(numbers, camera.images(), strict=True):
        try:
            shown = number_of(camera, image)
        except InputError:
            continue
        assert shown == pytest.approx(number, abs=0.15)


def test_damaged_packets_end_in_no_traceback(tmp_path: Path) -> None:
    data = packets(8)
    data[0], data[3], data[5] = b"", data[3][:10], bytes(100)
    camera = bag(tmp_path, [packet or b"x" for packet in data])
    for image in camera.images():
        try:
            camera.decode(image)
        except InputError:
            continue
