"""Bags as a robot would record them, written with rosbags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.se3 import exp, invert, to_quaternion
from diff2i2p_core.geometry.timed_poses import TimedPoses
from diff2i2p_core.io.rgbd_folder import Frame

STORE = get_typestore(Stores.ROS2_JAZZY)
STORE1 = get_typestore(Stores.ROS1_NOETIC)
STORE1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
START, PERIOD = 1_700_000_000_000_000_000, 33_000_000
"""Nanoseconds."""


def message(kind: str, **fields: Any) -> Any:
    return STORE.types[kind](**fields)


def header(stamp: int, frame: str) -> Any:
    time = message("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
    return message("std_msgs/msg/Header", stamp=time, frame_id=frame)


def transform(stamp: int, parent: str, child: str, matrix: np.ndarray) -> Any:
    x, y, z, w = (float(value) for value in to_quaternion(matrix))
    return message(
        "geometry_msgs/msg/TransformStamped",
        header=header(stamp, parent),
        child_frame_id=child,
        transform=message(
            "geometry_msgs/msg/Transform",
            translation=message("geometry_msgs/msg/Vector3", **dict(zip("xyz", matrix[:3, 3], strict=True))),
            rotation=message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        ),
    )


def tf(*transforms: Any) -> Any:
    return message("tf2_msgs/msg/TFMessage", transforms=list(transforms))


def pose_stamped(stamp: int, frame: str, matrix: np.ndarray) -> Any:
    move = transform(stamp, frame, "", matrix).transform
    point = message(
        "geometry_msgs/msg/Point", x=move.translation.x, y=move.translation.y, z=move.translation.z
    )
    pose = message("geometry_msgs/msg/Pose", position=point, orientation=move.rotation)
    return message("geometry_msgs/msg/PoseStamped", header=header(stamp, frame), pose=pose)


def camera_info(stamp: int, frame: str, camera: Camera) -> Any:
    roi = message(
        "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    return message(
        "sensor_msgs/msg/CameraInfo",
        header=header(stamp, frame),
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=np.array(camera.distortion or [0.0] * 5),
        k=camera.matrix.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([camera.matrix, np.zeros((3, 1))]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def image(stamp: int, frame: str, pixels: np.ndarray, encoding: str) -> Any:
    data = np.ascontiguousarray(pixels)
    return message(
        "sensor_msgs/msg/Image",
        header=header(stamp, frame),
        height=data.shape[0],
        width=data.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=data.strides[0],
        data=data.view(np.uint8).ravel(),
    )


def compressed(stamp: int, frame: str, data: bytes, kind: str) -> Any:
    return message(
        "sensor_msgs/msg/CompressedImage",
        header=header(stamp, frame),
        format=kind,
        data=np.frombuffer(data, np.uint8),
    )


def cloud(stamp: int, frame: str, points: np.ndarray) -> Any:
    """x, y, z with four bytes of other data in between."""
    table = np.zeros((len(points), 4), np.float32)
    table[:, :3] = points
    fields = [
        message("sensor_msgs/msg/PointField", name=name, offset=4 * axis, datatype=7, count=1)
        for axis, name in enumerate("xyz")
    ]
    return message(
        "sensor_msgs/msg/PointCloud2",
        header=header(stamp, frame),
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=16,
        row_step=16 * len(points),
        data=table.view(np.uint8).ravel(),
        is_dense=True,
    )


@dataclass(frozen=True)
class Sent:
    """A message to be written into a bag."""

    topic: str
    stamp: int
    content: Any


def write_bag(path: Path, messages: Sequence[Sent], *, mcap: bool = True, compressed: bool = False) -> Path:
    """Write messages in the order of their stamps, which are also the recording times."""
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    bag = Writer(path, version=9, storage_plugin=plugin)
    if compressed:
        bag.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with bag as writer:
        connections: dict[str, Any] = {}
        for sent in sorted(messages, key=lambda sent: sent.stamp):
            kind = sent.content.__msgtype__
            if sent.topic not in connections:
                connections[sent.topic] = writer.add_connection(sent.topic, kind, typestore=STORE)
            writer.write(connections[sent.topic], sent.stamp, STORE.serialize_cdr(sent.content, kind))
    return path


def as_ros1(content: Any, store: Any = STORE1) -> Any:
    """A message of ROS 2, or a part of one, as one of ROS 1."""
    if isinstance(content, list):
        return [as_ros1(part, store) for part in content]
    kind = getattr(content, "__msgtype__", None)
    if kind is None:
        return content
    known: Any = store.types[kind]
    fields: dict[str, Any] = {"seq": 0} if kind.endswith("/Header") else {}
    upper = {name.lower(): name for name in known.__dataclass_fields__}
    for name, value in vars(content).items():
        if name != "__msgtype__":
            fields[upper[name.lower()]] = as_ros1(value, store)
    return known(**fields)


def write_ros1_bag(path: Path, messages: Sequence[Sent], store: Any = STORE1) -> Path:
    """The same as `write_bag`, for ROS 1. `store` knows the types."""
    with Writer1(path) as writer:
        connections: dict[str, Any] = {}
        for sent in sorted(messages, key=lambda sent: sent.stamp):
            kind = sent.content.__msgtype__
            if sent.topic not in connections:
                connections[sent.topic] = writer.add_connection(sent.topic, kind, typestore=store)
            data = store.serialize_ros1(as_ros1(sent.content, store), kind)
            writer.write(connections[sent.topic], sent.stamp, data)
    return path


BASE_FROM_CAMERA = np.array(
    [[0, 0, 1, 0.1], [-1, 0, 0, 0.02], [0, -1, 0, 0.3], [0, 0, 0, 1.0]], dtype=np.float64
)


def robot(
    frames: Sequence[Frame],
    camera: Camera,
    *,
    jpegs: Sequence[bytes] = (),
    depth: str = "16UC1",
    poses: str = "tf",
    offset: int = 0,
) -> list[Sent]:
    """What a robot with `map -> odom -> base_link -> camera` records.

    Args:
        jpegs: compressed images instead of raw ones.
        depth: encoding of the depth image; "png" for a compressedDepth, "cloud" for a PointCloud2.
        poses: "tf" or "pose" (a topic of the camera's poses).
        offset: nanoseconds by which the poses are stamped before and after each image, not at it.
    """
    sent = [
        Sent("/tf_static", START - 10**9, tf(transform(0, "base_link", "camera", BASE_FROM_CAMERA))),
        Sent("/tf_static", START - 10**9, tf(transform(0, "map", "odom", np.eye(4)))),
    ]
    for place, frame in enumerate(frames):
        stamp = START + place * PERIOD
        sent.append(Sent("/camera/color/camera_info", stamp, camera_info(stamp, "camera", camera)))
        if jpegs:
            topic, content = (
                "/camera/color/image_raw/compressed",
                compressed(stamp, "camera", jpegs[place], "jpeg"),
            )
        else:
            topic, content = "/camera/color/image_raw", image(stamp, "camera", frame.image, "rgb8")
        sent.append(Sent(topic, stamp, content))
        sent.append(depth_message(stamp if depth == "cloud" else stamp + 2_000_000, frame, camera, depth))
        for shift in {-offset, offset}:
            at = stamp + shift
            if poses == "tf":
                odom_from_base = frame.world_from_camera @ invert(BASE_FROM_CAMERA)
                sent.append(Sent("/tf", at, tf(transform(at, "odom", "base_link", odom_from_base))))
            else:
                sent.append(Sent("/pose", at, pose_stamped(at, "map", frame.world_from_camera)))
    return sent


def patrol(
    frames: Sequence[Frame],
    camera: Camera,
    *,
    jpegs: Sequence[bytes] = (),
    depth: bool = False,
    period: int = 2 * PERIOD,
) -> list[Sent]:
    """What a robot records whose odometry starts elsewhere and drifts, with its true camera poses on /gt.

    TF holds odom -> base_link -> camera, at each image and between; no map. Odometry drifts by 2 cm and
    0.3 degrees a second.
    """
    sent = [Sent("/tf_static", START - 10**9, tf(transform(0, "base_link", "camera", BASE_FROM_CAMERA)))]
    stamps = [START + place * period for place in range(len(frames))]
    rows = [(*f.world_from_camera[:3, 3], *to_quaternion(f.world_from_camera)) for f in frames]
    truth = TimedPoses.of(stamps, rows)
    odom_from_map = exp([0.1, -0.4, 0.3, 3.0, -1.0, 0.5])
    for place, frame in enumerate(frames):
        stamp = stamps[place]
        sent.append(Sent("/camera/color/camera_info", stamp, camera_info(stamp, "camera", camera)))
        if jpegs:
            content = compressed(stamp, "camera", jpegs[place], "jpeg")
            sent.append(Sent("/camera/color/image_raw/compressed", stamp, content))
        else:
            content = image(stamp, "camera", frame.image, "rgb8")
            sent.append(Sent("/camera/color/image_raw", stamp, content))
        if depth:
            sent.append(depth_message(stamp + 2_000_000, frame, camera, "16UC1"))
        sent.append(Sent("/gt", stamp, pose_stamped(stamp, "map", frame.world_from_camera)))
        for at in (stamp, stamp + period // 2):
            pose = truth.at(min(at, stamps[-1]), 2 * period)
            assert pose is not None
            seconds = (at - START) / 1e9
            drift = exp([0, 0, np.radians(0.3) * seconds, 0.02 * seconds, 0, 0])
            odom_from_base = drift @ odom_from_map @ pose @ invert(BASE_FROM_CAMERA)
            sent.append(Sent("/tf", at, tf(transform(at, "odom", "base_link", odom_from_base))))
    return sent


def depth_message(stamp: int, frame: Frame, camera: Camera, kind: str) -> Sent:
    """A cloud lies at its own stamp, as the pose then says; an image is taken as registered."""
    millimetres = np.rint(frame.depth * 1000).astype(np.uint16)
    if kind == "cloud":
        points = back_project(frame.depth, camera)[frame.depth > 0]
        return Sent("/points", stamp, cloud(stamp, "camera", points))
    if kind == "png":
        data = bytes(12) + cv2.imencode(".png", millimetres)[1].tobytes()
        topic = "/camera/depth/image_raw/compressedDepth"
        return Sent(topic, stamp, compressed(stamp, "camera", data, "16UC1; compressedDepth png"))
    pixels = millimetres if kind == "16UC1" else frame.depth.astype(np.float32)
    return Sent("/camera/depth/image_raw", stamp, image(stamp, "camera", pixels, kind))
