"""The topics that launch arguments ask for, with one camera and with several."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from diff2i2p.launch_topics import camera_names, camera_remappings


def test_one_camera() -> None:
    assert camera_remappings("", "camera/image_raw", "", "") == [
        ("image", "camera/image_raw"),
        ("image/compressed", "camera/image_raw/compressed"),
        ("image/ffmpeg", "camera/image_raw/ffmpeg"),
        ("camera_info", "camera/camera_info"),
    ]
    pairs = dict(camera_remappings("", "picture", "/calibration", "/depth"))
    assert (pairs["image"], pairs["camera_info"], pairs["depth"]) == ("picture", "/calibration", "/depth")
    assert dict(camera_remappings("", "picture", "", ""))["camera_info"] == "camera_info"


def test_several_cameras_have_topics_of_their_names_or_those_given() -> None:
    assert camera_names(" front, left") == ["front", "left"] and camera_names("") == []
    pairs = dict(camera_remappings("front,left", "camera/image_raw", "", ""))
    assert pairs["front/image"] == "front/image_raw" and pairs["left/image"] == "left/image_raw"
    assert pairs["left/image/compressed"] == "left/image_raw/compressed"
    assert pairs["left/camera_info"] == "left/camera_info" and "left/depth" not in pairs
    given = dict(camera_remappings("front,left", "/a/rgb, /b/rgb", "/a/info,/b/info", "/a/depth,/b/depth"))
    assert given["front/image"] == "/a/rgb" and given["left/image"] == "/b/rgb"
    assert given["left/camera_info"] == "/b/info" and given["front/depth"] == "/a/depth"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("front,left", "/a/rgb", "", ""), "image:=/a/rgb: give one for each of the cameras front, left"),
        (("front,left", "/a,/b", "/a", ""), "camera_info:=/a: give one for each"),
        (("front,left", "/a,", "", ""), "image:=/a,: give one for each"),
        (("front,", "/a,/b", "", ""), "cameras:=front,: a name is empty"),
        (("", "/a,/b", "", ""), "image:=/a,/b: give one topic"),
    ],
)
def test_arguments_that_do_not_fit(arguments: tuple[str, str, str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        camera_remappings(*arguments)
