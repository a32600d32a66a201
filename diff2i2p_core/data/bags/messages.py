"""ROS 2 messages, as `rosbags` reads them, to arrays, cameras and transforms. No ROS is needed."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.data.frames import decode_image
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
IMAGES = (IMAGE, COMPRESSED)
CLOUD, CAMERA_INFO = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/CameraInfo"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
POSES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
    "nav_msgs/msg/Odometry",
)
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "bayer_rggb8": cv2.COLOR_BayerRGGB2RGB,
    "bayer_bggr8": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGBRG2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGRBG2RGB,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
}
_CHANNELS = {
    "rgb8": 3,
    "bgr8": 3,
    "rgba8": 4,
    "bgra8": 4,
    "uyvy": 2,
    "yuv422": 2,
    "yuyv": 2,
    "yuv422_yuy2": 2,
}
"""Bytes a pixel; all others have one."""
_DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
_FLOATS = {7: "f4", 8: "f8"}
"""PointField's FLOAT32 and FLOAT64."""
COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
"""Distortion models and how many coefficients they have."""


def stamp_of(message: Any) -> int:
    """A header's stamp in nanoseconds."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def image_of(message: Any, where: str) -> NDArray[np.uint8]:
    """Image or CompressedImage to (H, W, 3) RGB."""
    if not hasattr(message, "encoding"):
        return decode_image(bytes(message.data), where)
    encoding = message.encoding
    if encoding != "rgb8" and encoding not in _TO_RGB:
        raise InputError(f"{where}: encoding '{encoding}' is no colour image; give another --image topic")
    pixels = _pixels(message, "u1", _CHANNELS.get(encoding, 1), where)
    if encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), _TO_RGB[encoding]), np.uint8)


def depth_of(message: Any, where: str) -> NDArray[np.float32]:
    """Image or CompressedImage to depth (H, W) in metres; 0 where unknown."""
    if hasattr(message, "encoding"):
        kind = _DEPTHS.get(message.encoding)
        if kind is None:
            raise InputError(f"{where}: encoding '{message.encoding}' is no depth; give another --depth")
        raw = _pixels(message, kind, 1, where)[..., 0]
    else:
        raw = _compressed_depth(message, where)
    depth = raw.astype(np.float32)
    if raw.dtype == np.uint16:
        depth /= 1000
    depth[~np.isfinite(depth) | (depth < 0)] = 0
    return depth


def cloud_of(message: Any, where: str) -> NDArray[np.float32]:
    """PointCloud2 to its finite points (N, 3)."""
    fields = {field.name: field for field in message.fields}
    order = ">" if message.is_bigendian else "<"
    size = int(message.point_step)
    try:
        names = ["x", "y", "z"]
        formats = [order + _FLOATS[fields[name].datatype] for name in names]
        offsets = [int(fields[name].offset) for name in names]
        kind = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
        rows = np.asarray(message.data, np.uint8).reshape(message.height, message.row_step)
        packed = np.ascontiguousarray(rows[:, : message.width * size])
        table = packed.reshape(-1).view(kind)
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{where}: not a cloud with fields x, y and z of numbers") from None
    points = np.stack([table[name] for name in names], axis=-1).astype(np.float32)
    return points[np.isfinite(points).all(1)]


def camera_of(message: Any, where: str, *, rectified: bool = False) -> Camera:
    """CameraInfo to the camera of the images, its region of interest and binning applied.

    K and the distortion of the message, or, for already `rectified` images, its projection matrix P.
    """
    try:
        matrix = np.asarray(message.p, float).reshape(3, 4)[:, :3] if rectified else np.asarray(message.k)
        fx, _, cx, _, fy, cy = (float(value) for value in np.ravel(matrix)[:6])
        lens = ("none", ()) if rectified else _distortion(message)
        roi = message.roi
        width, height = int(roi.width or message.width), int(roi.height or message.height)
        camera = Camera(width, height, fx, fy, cx - roi.x_offset, cy - roi.y_offset, *lens)
        bins = max(1, int(message.binning_x)), max(1, int(message.binning_y))
        return camera.scaled_to(width // bins[0], height // bins[1]) if bins != (1, 1) else camera
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _distortion(message: Any) -> tuple[str, tuple[float, ...]]:
    coefficients = tuple(float(value) for value in message.d)
    if not any(coefficients):  # an undistorted camera names any model or none
        return "none", ()
    model = message.distortion_model
    allowed = COEFFICIENTS.get(model)
    if allowed is None:
        known = ", ".join(COEFFICIENTS)
        raise InputError(f"distortion model {model[:60]!r} is not supported; use one of {known}")
    if len(coefficients) not in allowed:
        counts = " or ".join(str(count) for count in allowed)
        raise InputError(f"{len(coefficients)} distortion coefficients; {model} has {counts}")
    return model, coefficients


def transform_row(transform: Any) -> tuple[float, ...]:
    """A Transform or a Pose as x y z qx qy qz qw."""
    place = transform.translation if hasattr(transform, "translation") else transform.position
    turn = transform.rotation if hasattr(transform, "rotation") else transform.orientation
    return (place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w)


def pose_of(message: Any) -> tuple[str, str, tuple[float, ...]]:
    """Parent, child ("" where there is none) and x y z qx qy qz qw of a message of `POSES`."""
    child = getattr(message, "child_frame_id", "")
    pose = message.transform if hasattr(message, "transform") else message.pose
    return message.header.frame_id, child, transform_row(getattr(pose, "pose", pose))


def _pixels(message: Any, kind: str, channels: int, where: str) -> NDArray[Any]:
    """(H, W, channels) of an Image."""
    item = np.dtype((">" if message.is_bigendian else "<") + kind)
    row = message.width * channels * item.itemsize
    if message.step < row or len(message.data) != message.step * message.height or not row:
        raise InputError(
            f"{where}: {len(message.data)} bytes are not {message.width}x{message.height} {message.encoding}"
        )
    rows = np.asarray(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    return np.ascontiguousarray(rows).view(item).reshape(message.height, message.width, channels)


def _compressed_depth(message: Any, where: str) -> NDArray[Any]:
    """A PNG, or what compressed_depth_image_transport makes: a header of 12 bytes, then a PNG."""
    data = bytes(message.data)
    header = b""
    if "compressedDepth" in message.format:
        header, data = data[:12], data[12:]
    raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if raw is None or raw.ndim != 2 or raw.dtype != np.uint16:
        raise InputError(f"{where}: format '{message.format}' is no 16-bit depth; give another --depth topic")
    if message.format.startswith("32FC1") and len(header) == 12:
        _, a, b = struct.unpack("<iff", header)
        inverse = raw.astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(raw > 0, np.float32(a) / (inverse - np.float32(b)), np.float32(0))
    return np.asarray(raw)
