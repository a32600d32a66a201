"""Images of a bag as packets of H.264 or H.265, in messages of three types."""

from __future__ import annotations

import copy
import re
import sqlite3
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
pytest.importorskip("av", reason="needs the extra `video`")
import av
from bag_writer import (
    START,
    STORE,
    STORE1,
    Sent,
    camera_info,
    compressed,
    header,
    message,
    write_bag,
    write_ros1_bag,
)
from rosbags.typesys import get_types_from_msg

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.packets import CODECS, PACKET, VIDEO, codec_of, define_packets

BASE = "/camera/color/image_raw"
STEP = 10**8
WIDTH, HEIGHT = 160, 128
define_packets(STORE)


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
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, options.pop("pix_fmt", "yuv420p")
    encoder.time_base = Fraction(1, 10)
    quiet = {"x265-params": "log-level=none"} if CODECS[codec] == "hevc" else {}
    encoder.options = {"tune": "zerolatency", "crf": "10", **quiet, **options}
    found = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts = number
        found += encoder.encode(frame)
    return [(bytes(packet), packet.pts) for packet in [*found, *encoder.encode(None)]]


def messages(data: list[bytes], codec: str = "h264", kind: str = "") -> list[Sent]:
    """Calibration and packets, in messages of a type that is not sensor_msgs' if `kind` is given."""
    camera = Camera(WIDTH, HEIGHT, 130, 130, 79.5, 63.5)
    sent = [Sent("/camera/color/camera_info", START, camera_info(START, "camera", camera))]
    topic = f"{BASE}/{ {PACKET: 'ffmpeg', VIDEO: 'foxglove'}.get(kind, 'compressed') }"
    for number, packet in enumerate(data):
        at = START + number * STEP
        sent.append(Sent(topic, at, packed(at, number, packet, codec, kind)))
    return sent


def packed(at: int, number: int, data: bytes, codec: str, kind: str) -> Any:
    if not kind:
        return compressed(at, "camera", data, codec)
    content = np.frombuffer(data, np.uint8)
    if kind == VIDEO:
        stamp = header(at, "").stamp
        return message(kind, timestamp=stamp, frame_id="camera", data=content, format=codec)
    rest = {"pts": number, "flags": int(number == 0), "is_bigendian": False, "data": content}
    return message(kind, header=header(at, "camera"), width=WIDTH, height=HEIGHT, encoding=codec, **rest)


def bag(tmp_path: Path, data: list[bytes], codec: str = "h264", kind: str = "") -> BagCamera:
    return BagCamera(write_bag(tmp_path / "bag", messages(data, codec, kind)))


def usable(camera: BagCamera) -> list[int]:
    """The numbers of the pictures that can be decoded, which come with their own stamps."""
    found = []
    for image in camera.images():
        try:
            found.append(round(number_of(camera, image)))
        except InputError as error:
            assert "video that cannot be decoded" in str(error)
            continue
        assert found[-1] == (image.stamp - START) // STEP
    return found


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
    found = []
    for image in camera.images():
        try:
            found.append(round(number_of(camera, image)))
        except InputError as error:
            assert "is a packet of 'h264' video that cannot be decoded, because" in str(error)
    assert found == [4, 5, 6, 7, 8]


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


@pytest.mark.parametrize(
    ("codec", "encoding", "kind"),
    [
        ("h264", "libx264", PACKET),
        ("h264", "h264;yuv420p;bgr8;bgr8", PACKET),
        ("hevc", "hevc_nvenc", PACKET),
        ("h265", "h265", VIDEO),
    ],
)
@pytest.mark.parametrize("mcap", [True, False])
def test_packets_of_other_types(tmp_path: Path, codec: str, encoding: str, kind: str, mcap: bool) -> None:
    sent = messages(packets(4, codec), encoding, kind)
    path = write_bag(tmp_path / "bag", sent, mcap=mcap)
    if not mcap:  # before Iron, bags had no definitions
        for file in path.glob("*.db3"):
            with sqlite3.connect(file) as database:
                database.execute("DELETE FROM message_definitions")
        about = path / "metadata.yaml"
        about.write_text(re.sub(r"version: \d+", "version: 4", about.read_text()))
    camera = BagCamera(path)
    assert camera.info_topic == "/camera/color/camera_info" and camera.frame == "camera"
    assert usable(camera) == [0, 1, 2, 3]


def test_packets_of_ros_1(tmp_path: Path) -> None:
    """Other fields, in another order; and the type stands in the bag."""
    text = (
        "Header header\nuint8[] data\nint32 img_width\nint32 img_height\nstring encoding\n"
        "uint64 pts\nuint8 flags"
    )
    store = copy.deepcopy(STORE1)
    store.register(get_types_from_msg(text, PACKET))
    sent = messages(packets(4), "libx264")
    for content in (s.content for s in sent[1:]):
        fields = {"img_width": WIDTH, "img_height": HEIGHT, "encoding": content.format, "pts": 0, "flags": 0}
        vars(content).update(fields, __msgtype__=PACKET)
        del vars(content)["format"]
    camera = BagCamera(write_ros1_bag(tmp_path / "old.bag", sent, store))
    assert usable(camera) == [0, 1, 2, 3]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_after_lost_packets_images_come_from_the_next_key_frame_on(tmp_path: Path, codec: str) -> None:
    data = packets(12, codec, g="4", **({"x264-params": "scenecut=0"} if codec == "h264" else {}))
    sent = messages(data, codec)
    camera = BagCamera(write_bag(tmp_path / "bag", [*sent[:3], *sent[4:10], *sent[12:]]))
    assert usable(camera) == [0, 1, 4, 5, 6, 7, 8]


def test_no_packet_counts_as_lost_that_no_other_refers_to(tmp_path: Path) -> None:
    """And every profile's parameters are understood: a mistake would lose pictures."""
    for number, options in enumerate(
        [
            {"profile": "high", "x264-params": "cqm=jvt:scenecut=0"},
            {"pix_fmt": "yuv444p"},
            {"pix_fmt": "yuv422p", "profile": "high422"},
            {"intra-refresh": "1", "g": "8"},
            {"slices": "4"},
        ]
    ):
        camera = bag(tmp_path / str(number), packets(12, **options))
        assert usable(camera) == list(range(12))


@pytest.mark.parametrize("pattern", ["bayer_rggb8", "mono8"])
def test_grey_images_and_mosaics_are_coded_as_brightness(tmp_path: Path, pattern: str) -> None:
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.options = Fraction(1, 10), {"tune": "zerolatency", "qp": "0"}
    mosaic = np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8)
    mosaic[:HEIGHT:2, ::2] = 240  # red
    mosaic[HEIGHT:] = 128
    picture = av.VideoFrame.from_ndarray(mosaic, format="yuv420p")
    picture.pts = 0
    data = [bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)]]
    camera = bag(tmp_path, data, f"h264;yuv420p;{pattern};{pattern}", PACKET)
    (image,) = camera.images()
    pixels = camera.decode(image)[0]
    assert pixels[64, 64].tolist() == ([240, 0, 0] if pattern.startswith("bayer") else [240] * 3)


def test_other_codecs_are_named(tmp_path: Path) -> None:
    for kind in (PACKET, VIDEO):
        with pytest.raises(
            InputError, match=r"image_raw/.*: video of 'av1' is not supported; use h264 or hevc"
        ):
            bag(tmp_path / kind[:3], [b"x"], "av1", kind)
    assert [codec_of(name) for name in ("jpeg", "rgb8; jpeg compressed bgr8", "", "h26", "mjpeg;x")] == [
        None
    ] * 5
