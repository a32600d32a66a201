"""Messages of every type that the node receives, with anything in their fields (hypothesis)."""

from __future__ import annotations

import struct
import zlib

from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseWithCovariance,
    PoseWithCovarianceStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
)
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField, RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from diff2i2p_core.messages.encodings import COLORS, Encoding
from diff2i2p_core.messages.encodings import DEPTHS as DEPTH_ENCODINGS

BYTE = st.integers(0, 255)
UINT32 = st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1))
FLOAT = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, 500.0, 1e300, -1e30, float("nan"), float("inf")]))
DATA = st.binary(max_size=600)
TEXT = st.one_of(
    st.sampled_from(["", "map", "/", "camera", "base_link", "a" * 5000, "a\nb", "käfer ☃", "\x1b[31m"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
)
COLOR = st.one_of(st.sampled_from([*COLORS, "16UC1", ""]), TEXT)
DEPTH = st.one_of(st.sampled_from([*DEPTH_ENCODINGS, "rgb8"]), TEXT)
STAMPS = st.builds(
    Time,
    sec=st.one_of(st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]), st.integers(0, 1000)),
    nanosec=st.one_of(st.integers(0, 999_999_999), st.integers(0, 2**32 - 1)),
)
HEADERS = st.builds(Header, stamp=STAMPS, frame_id=TEXT)
GOOD_HEADERS = st.builds(Header, stamp=st.builds(Time, sec=st.integers(1, 10**9)), frame_id=st.just("camera"))
ANY_HEADER = st.one_of(HEADERS, GOOD_HEADERS)


def _images(names: st.SearchStrategy[str], encodings: dict[str, Encoding]) -> st.SearchStrategy[Image]:
    """Fields that do not fit together, and whole images in rows with padding."""

    def whole(size: tuple[int, int], pad: int, encoding: str, fill: int, big: int, header: Header) -> Image:
        height, width = size
        known = encodings.get(encoding, Encoding(1, None))
        step = width * known.pixel_bytes + pad
        rows = height * 3 // 2 if known.half_chroma else height
        image = Image(header=header, height=height, width=width, encoding=encoding, step=step)
        image.data, image.is_bigendian = bytes([fill]) * (step * rows), big
        return image

    size = st.tuples(st.integers(1, 5), st.integers(1, 5))
    return st.one_of(
        st.builds(
            Image,
            header=ANY_HEADER,
            height=UINT32,
            width=UINT32,
            step=UINT32,
            encoding=names,
            data=DATA,
            is_bigendian=BYTE,
        ),
        st.builds(whole, size, st.integers(0, 9), names, BYTE, st.integers(0, 1), ANY_HEADER),
    )


IMAGES = _images(COLOR, COLORS)
DEPTHS = _images(DEPTH, DEPTH_ENCODINGS)


def png_header(width: int, height: int, depth: int = 8, color: int = 2) -> bytes:
    """The beginning of a PNG with these header values."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + content + struct.pack(">I", zlib.crc32(content))


def jpeg_header(width: int, height: int) -> bytes:
    """The beginning of a JPEG with these header values."""
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\1\x22\0\2\x11\1\3\x11\1"
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + b"\xff\xc0" + frame + b"\xff\xda"


UINT16 = st.one_of(st.integers(0, 12), st.integers(0, 2**16 - 1))
FILES = st.one_of(
    DATA,
    st.builds(lambda size, more: png_header(*size) + more, st.tuples(UINT32, UINT32, BYTE, BYTE), DATA),
    st.builds(lambda size, more: jpeg_header(*size) + more, st.tuples(UINT16, UINT16), DATA),
    st.builds(lambda magic, more: magic + more, st.sampled_from([b"BM", b"GIF89a", b"II*\0", b"RIFF"]), DATA),
)
FORMATS = st.one_of(
    st.sampled_from(
        ["jpeg", "rgb8; png compressed bgr8", "bayer_rggb8; png compressed", "16UC1; compressedDepth"]
    ),
    TEXT,
)
COMPRESSED = st.builds(CompressedImage, header=ANY_HEADER, format=FORMATS, data=FILES)

MATRIX = [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0]
CAMERA_INFOS = st.builds(
    CameraInfo,
    header=ANY_HEADER,
    width=st.one_of(st.just(64), UINT32),
    height=st.one_of(st.just(48), UINT32),
    k=st.one_of(st.just(MATRIX), st.lists(FLOAT, min_size=9, max_size=9)),
    p=st.lists(FLOAT, min_size=12, max_size=12),
    d=st.one_of(*(st.lists(FLOAT, min_size=n, max_size=n) for n in (0, 1, 4, 5, 8, 14))),
    distortion_model=st.one_of(st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant"]), TEXT),
    binning_x=st.one_of(st.just(0), UINT32),
    binning_y=st.one_of(st.just(0), UINT32),
    roi=st.one_of(
        st.just(RegionOfInterest()),
        st.builds(RegionOfInterest, x_offset=UINT32, y_offset=UINT32, width=UINT32, height=UINT32),
    ),
)

FIELDS = st.builds(
    PointField,
    name=st.one_of(st.sampled_from(["x", "y", "z", "rgb", "rgba"]), TEXT),
    offset=st.one_of(st.integers(0, 20), UINT32),
    datatype=st.one_of(st.sampled_from([7, 8, 6, 2]), BYTE),
    count=st.one_of(st.just(1), UINT32),
)


def _whole_cloud(count: int, step: int, fill: bytes, fields: list[PointField], big: bool) -> PointCloud2:
    cloud = PointCloud2(height=1, width=count, point_step=step, row_step=step * count, fields=fields)
    cloud.data = (fill * (step * count))[: step * count]
    cloud.header.frame_id, cloud.is_bigendian = "map", big
    return cloud


XYZ = st.builds(
    lambda offsets, kind: [
        PointField(name=name, offset=offset, datatype=kind, count=1)
        for name, offset in zip(("x", "y", "z", "rgb"), offsets, strict=True)
    ],
    st.one_of(st.just((0, 4, 8, 12)), st.tuples(*(4 * [st.integers(0, 20)]))),
    st.sampled_from([PointField.FLOAT32, PointField.FLOAT64, PointField.UINT8]),
)
CLOUDS = st.one_of(
    st.builds(
        PointCloud2,
        header=st.one_of(HEADERS, st.just(Header(frame_id="map"))),
        width=UINT32,
        height=UINT32,
        point_step=UINT32,
        row_step=UINT32,
        fields=st.lists(FIELDS, max_size=5),
        data=DATA,
        is_bigendian=st.booleans(),
    ),
    st.builds(
        _whole_cloud,
        st.integers(0, 5),
        st.integers(0, 32),
        st.binary(min_size=1, max_size=8),
        st.one_of(XYZ, st.lists(FIELDS, max_size=5)),
        st.booleans(),
    ),
)

POINTS = st.builds(Point, x=FLOAT, y=FLOAT, z=FLOAT)
QUATERNIONS = st.one_of(
    st.builds(Quaternion, x=FLOAT, y=FLOAT, z=FLOAT, w=FLOAT),
    st.sampled_from([Quaternion(w=1.0), Quaternion(w=0.0), Quaternion(x=3.0, w=0.0)]),
)
POSES = st.builds(Pose, position=POINTS, orientation=QUATERNIONS)
INITIAL_POSES = st.builds(
    PoseWithCovarianceStamped,
    header=st.one_of(HEADERS, st.just(Header(frame_id="map"))),
    pose=st.builds(PoseWithCovariance, pose=POSES, covariance=st.lists(FLOAT, min_size=36, max_size=36)),
)
TRANSFORMS = st.builds(
    TransformStamped,
    header=HEADERS,
    child_frame_id=TEXT,
    transform=st.builds(
        Transform, translation=st.builds(Vector3, x=FLOAT, y=FLOAT, z=FLOAT), rotation=QUATERNIONS
    ),
)
TF_MESSAGES = st.builds(TFMessage, transforms=st.lists(TRANSFORMS, max_size=3))
