"""The tables of docs/formats.md against the code."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from diff2i2p_core.demo.live_replay import TRANSPORTS
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.distortion import COEFFICIENTS, SYNONYMS
from diff2i2p_core.io.trajectories import read_trajectory
from diff2i2p_core.messages.encodings import COLORS, DEPTHS
from diff2i2p_core.messages.images import FILES, depth_of, image_of
from diff2i2p_core.messages.kinds import COMPRESSED, IMAGE
from diff2i2p_core.messages.packets import CODECS, PACKET, VIDEO, as_compressed, codec_of

PAGE = (Path(__file__).parents[1] / "docs/formats.md").read_text(encoding="utf-8")


def table(heading: str, number: int = 0) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = re.split(rf"^## {heading}$", PAGE, flags=re.M)[1].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, flags=re.M)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables[number].splitlines()[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def marked(heading: str) -> list[tuple[str, bool]]:
    """What the first column names, and whether it is read."""
    rows = table(heading)
    assert {read for _, read, _ in rows} <= {"yes", "no"}
    return [(name, read == "yes") for cell, read, _ in rows for name in names(cell) or [cell]]


def raw(encoding: str) -> Any:
    known = COLORS.get(encoding) or DEPTHS.get(encoding)
    size = known.pixel_bytes if known else 4
    rows = 12 if known and known.half_chroma else 8
    return SimpleNamespace(
        encoding=encoding,
        width=8,
        height=8,
        step=8 * size,
        is_bigendian=0,
        data=bytes(range(8)) * size * rows,
    )


def packed(content: bytes, form: str) -> Any:
    return SimpleNamespace(format=form, data=np.frombuffer(content, np.uint8))


@pytest.mark.parametrize(("heading", "known"), [("Image messages", COLORS), ("Depth", DEPTHS)])
def test_encodings(heading: str, known: dict[str, Any]) -> None:
    rows = marked(heading)
    assert [name for name, read in rows if read] == sorted(known, key=[name for name, _ in rows].index)
    decode = image_of if heading == "Image messages" else depth_of
    for name, read in rows:
        if read:
            assert decode(raw(name), name).shape[:2] == (8, 8)
        else:
            with pytest.raises(InputError, match="is not supported"):
                decode(raw(name), name)


def test_compressed_images() -> None:
    (files, *_), (mosaic, *_), (video, *_) = table("Compressed images")
    assert files.split(", ") == list(FILES)
    pixels = np.full((8, 8, 3), 90, np.uint8)
    for name in FILES:
        content = cv2.imencode(f".{name.lower()}", pixels)[1].tobytes()
        assert image_of(packed(content, ""), "image").shape == (8, 8, 3)
    assert "mosaic" in mosaic
    form = names(table("Compressed images")[1][2])[1]
    grey = np.zeros((8, 8), np.uint8)
    grey[::2, ::2] = 200
    red = image_of(packed(cv2.imencode(".png", grey)[1].tobytes(), form), "image")
    assert red[4, 4].tolist() == [200, 0, 0]
    assert names(video)[:-1] == list(CODECS)
    for name in CODECS:  # decoded with those before it, see tests/messages/test_video.py
        with pytest.raises(InputError, match=f"is a packet of '{name}' video"):
            image_of(packed(b"\0\0\0\1\x67" + bytes(50), name), "image")


def test_video() -> None:
    """Each type is in a test of tests/messages/test_video.py and tests/ros/test_video_topics.py."""
    types = [(names(row[0])[0].replace("/", "/msg/"), row[1:3]) for row in table("Video")]
    assert types == [(COMPRESSED, ["yes", "yes"]), (PACKET, ["yes", "yes"]), (VIDEO, ["yes", "no"])]
    assert set(TRANSPORTS) == {IMAGE, *(kind for kind, (_, node) in types if node == "yes")}
    for cell, read, _ in table("Video", 1):
        for name in names(cell):
            message = as_compressed(SimpleNamespace(header=None, encoding=name, data=b"x"))
            found = codec_of(name)
            assert (found is not None) == (read == "yes")
            words = "cannot be decoded, because" if found else "is not supported; use h264 or hevc"
            with pytest.raises(InputError, match=words):
                image_of(message, "image")


K, D = "[260, 0, 160, 0, 260, 120, 0, 0, 1]", "[0.1, 0, 0, 0]"
SIZE = "image_width: 320\nimage_height: 240\n"
CAM = (
    "camera_model: pinhole\n  intrinsics: [260, 260, 160, 120]\n  distortion_model: radtan\n"
    f"  distortion_coeffs: {D}\n  resolution: [320, 240]\n"
)
CALIBRATIONS = {
    "camera_info YAML": f"{SIZE}camera_matrix: {{data: {K}}}\ndistortion_coefficients: {{data: {D}}}\n",
    "CameraInfo": f"height: 240\nwidth: 320\ndistortion_model: plumb_bob\nd: {D}\nk: {K}\n---\n",
    "OpenCV": f"%YAML:1.0\n---\n{SIZE}camera_matrix: !!opencv-matrix\n   data: {K}\n"
    f"distortion_coefficients: !!opencv-matrix\n   data: {D}\n",
    "Kalibr camchain of one": f"cam0:\n  {CAM}",
    "Kalibr camchain of several": f"cam0:\n  {CAM}cam1:\n  {CAM}",
    "EuRoC": CAM.replace("\n  ", "\n").replace("coeffs", "coefficients"),
    "ORB-SLAM": "%YAML:1.0\nCamera.fx: 260\n",
    "camodocal": "model_type: PINHOLE\nprojection_parameters:\n   fx: 260\n",
}
LINE = "1 0 0 0 0 0 0 1\n"
TRAJECTORIES = {
    "separated by": LINE.replace(" ", ";") + LINE.replace(" ", ",") + LINE.replace(" ", "\t") + LINE,
    "with a header": "stamp x y z qx qy qz qw\n# more\n" + LINE,
    "with an id": LINE.replace("\n", " 7\n"),
    "with stamps": LINE.replace("1 0", "1700000000000000000 0"),
    "with NaN": LINE + "2 nan nan nan nan nan nan nan\n3 0 0 inf 0 0 0 1\n4 0 0 0 0 0 0 0\n",
    "EuRoC": "#timestamp,p_x,p_y,p_z,q_RS_w [],q_RS_x [],q_RS_y [],q_RS_z []\n1,0,0,0,1,0,0,0\n",
    "lines of other lengths": LINE + "2 0 0 0 1\n",
}


@pytest.mark.parametrize(
    ("heading", "samples", "reader"),
    [("Calibrations", CALIBRATIONS, Camera.from_file), ("Trajectories", TRAJECTORIES, read_trajectory)],
)
def test_files_of_other_tools(heading: str, samples: dict[str, str], reader: Any, tmp_path: Path) -> None:
    rows = table(heading)
    assert len(rows) == len(samples)
    for (label, read, _), (begin, text) in zip(rows, samples.items(), strict=True):
        assert label.startswith(begin)
        (tmp_path / "file").write_text(text)
        if read == "yes":
            found = reader(tmp_path / "file")
            assert not isinstance(found, Camera) or found.distortion == (0.1, 0, 0, 0)
        else:
            with pytest.raises(InputError):
                reader(tmp_path / "file")


def test_distortion_models() -> None:
    rows = table("Calibrations", 1)
    counts = {name: tuple(map(int, count.split(", "))) for (name,), count, _ in _named(rows)}
    synonyms = {other: name for (name,), _, others in _named(rows) for other in names(others)}
    assert (counts, synonyms) == (COEFFICIENTS, SYNONYMS)


def _named(rows: list[list[str]]) -> list[tuple[list[str], str, str]]:
    return [(names(first), second, third) for first, second, third in rows]


def test_compressed_depth() -> None:
    """The sentence below the table."""
    assert "`compressedDepth` topics are read if they hold a PNG or RVL, of `16UC1` or `32FC1`" in PAGE
    png = cv2.imencode(".png", np.full((8, 8), 900, np.uint16))[1].tobytes()
    rvl = struct.pack("<IIII", 8, 8, 0x08888800, 0)
    for encoding in ("16UC1", "32FC1"):
        head = struct.pack("<iff", 0, 900.0, 0.0)
        depth = depth_of(packed(head + png, f"{encoding}; compressedDepth png"), "depth")
        np.testing.assert_allclose(depth, 0.9 if encoding == "16UC1" else 1.0)
        with pytest.raises(InputError, match="RVL data is damaged"):
            depth_of(packed(head + rvl, f"{encoding}; compressedDepth rvl"), "depth")
