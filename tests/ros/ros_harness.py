"""A localization node with the scripted localizer, and a robot that publishes to it over DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.srv import LoadMap, SetMap
from numpy.typing import NDArray
from rcl_interfaces.srv import DescribeParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from scripted_localizer import HEIGHT, WIDTH, ScriptedLocalizer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from diff2i2p.clouds import cloud_message
from diff2i2p.node import LocalizationNode
from diff2i2p.poses import stamp_from, stamped_transform
from diff2i2p.transform_inputs import TransformInputs
from diff2i2p.transforms import Buffer, StaticTransformBroadcaster, TransformBroadcaster
from diff2i2p_core.geometry.point_cloud import PointCloud

SERVICES = {
    kind.Request: kind for kind in (ChangeState, SetParametersAtomically, DescribeParameters, LoadMap, SetMap)
}
CAMERA_FRAME = "camera_optical"


class Spinning:
    """A node with an executor of its own in a thread."""

    def __init__(self, node: Node, context: Context) -> None:
        self.node = node
        self._end: Future = Future()
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        # Not spin and shutdown: shutdown may take the executor's guard away just before the thread waits for
        # it, which then waits for ever and takes the process down, or keeps it from ending, at the exit.
        name = f"{node.get_fully_qualified_name()} spinning"
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._end.done():
            with suppress(InvalidHandle):  # the test has just destroyed a publisher or a subscription
                self._executor.spin_until_future_complete(self._end)

    def close(self) -> None:
        """End the thread, then the node; a second call does nothing."""
        if self._end.done():
            return
        self._end.set_result(None)
        self._thread.join(30)
        assert not self._thread.is_alive(), f"{self._thread.name}: a callback does not return"
        self._executor.shutdown()
        self.node.destroy_node()
        # rclpy forgets a lifecycle node's state machine, which keeps the node on the graph until the garbage
        # collector comes by; one that a failed test's traceback holds stays to the end of the interpreter.
        if machine := getattr(self.node, "_state_machine", None):
            machine.destroy_when_not_in_use()


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 10.0) -> Any:
    """Poll until the condition is true; its value."""
    until = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {timeout} s for {what}"
        time.sleep(0.005)
    return value


class Robot(Node):
    """Publishes camera, map and odometry; records poses, transforms and diagnostics."""

    def __init__(self, context: Context, namespace: str = "") -> None:
        super().__init__("robot", context=context, namespace=namespace)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.poses: list[PoseWithCovarianceStamped] = []
        self.diagnostics: list[Any] = []
        self.topic_statuses: list[Any] = []
        self._waited = 0
        self.maps: list[PointCloud2] = []
        self.transforms: list[TransformStamped] = []
        self.create_camera()
        self.cloud = self.create_publisher(PointCloud2, "map_cloud", latched)
        self.initialpose = self.create_publisher(PoseWithCovarianceStamped, "initialpose", 10)
        self.broadcaster = TransformBroadcaster(self)
        self.static_broadcaster = StaticTransformBroadcaster(self)
        self.buffer = _RecordingBuffer(self.transforms)
        self.listener = TransformInputs(self, self.buffer, lambda topic, error: None)
        self.pose_subscription = self.create_subscription(
            PoseWithCovarianceStamped, "pose", self.poses.append, 10
        )
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_subscription(PointCloud2, "diff2i2p/map", self.maps.append, latched)

    def create_camera(self) -> None:
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.image = self.create_publisher(Image, "image", sensor)
        self.compressed = self.create_publisher(CompressedImage, "image/compressed", sensor)
        self.camera_info = self.create_publisher(CameraInfo, "camera_info", sensor)

    def forget_diagnostics(self) -> None:
        """They came from a node that has ended."""
        self.diagnostics.clear()
        self._waited = 0

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            topic = status.name.endswith(" topic status")
            (self.topic_statuses if topic else self.diagnostics).append(status)

    @property
    def status(self) -> tuple[int, str, dict[str, str]]:
        """Level, words and values of the newest diagnostics."""
        if not self.diagnostics:
            return -1, "", {}
        last = self.diagnostics[-1]
        return last.level[0], last.message, {row.key: row.value for row in last.values}

    def wait_status(self, level: int, words: str, timeout: float = 10.0) -> dict[str, str]:
        """Wait until diagnostics say it, including those since the last wait, and return their values."""

        def reached() -> bool:
            for place in range(self._waited, len(self.diagnostics)):
                found = self.diagnostics[place]
                if found.level[0] == level and words in found.message:
                    self._waited = place
                    return True
            return False

        try:
            wait_for(reached, "diagnostics", timeout)
        except AssertionError:
            raise AssertionError(f"diagnostics never said {level} {words!r}; last: {self.status}") from None
        return {row.key: row.value for row in self.diagnostics[self._waited].values}

    def ask(self, service: str, request: Any = None) -> Any:
        """A service's future response; `service` is a name below the node's, of a Trigger unless told."""
        kind = Trigger if request is None else SERVICES[type(request)]
        client = self.create_client(kind, f"diff2i2p/{service}")
        assert client.wait_for_service(10), service
        return client.call_async(Trigger.Request() if request is None else request)

    def call(self, service: str, request: Any = None) -> Any:
        """A service's response."""
        future = self.ask(service, request)
        wait_for(future.done, f"the answer of {service}")
        return future.result()

    def change_state(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call("change_state", request).success)

    def calibrate(self, info: CameraInfo | None = None) -> None:
        """Publish the calibration, as a camera does, until the active node has it: it is sent best effort."""
        until = time.monotonic() + 20
        while True:
            self.camera_info.publish(info or self.camera_info_message())
            time.sleep(0.02)
            if self.status[2].get("state") == "active" and "camera_info" not in self.status[1]:
                return
            assert time.monotonic() < until, f"the node never took the calibration; last: {self.status}"

    def wait_value(self, key: str, value: str) -> None:
        """Until the diagnostics carry the value; they come at 1 Hz and on change of level or words."""
        wait_for(lambda: self.status[2].get(key) == value, f"{key} {value}; last: {self.status}")

    def wait_camera_matched(self, timeout: float = 10.0) -> None:
        """Wait until the node subscribes to the camera and both ends know of each other."""
        publishers = (self.image, self.camera_info)
        wait_for(
            lambda: all(p.get_subscription_count() for p in publishers), "the node's subscriptions", timeout
        )
        wait_for(
            lambda: self.count_publishers("/tf") and self.count_publishers("pose"), "the node's publishers"
        )

    @property
    def map_transforms(self) -> list[TransformStamped]:
        """The node's transforms: those whose parent is the map."""
        return [transform for transform in self.transforms if transform.header.frame_id == "map"]

    def camera_info_message(self) -> CameraInfo:
        k = [60.0, 0.0, WIDTH / 2, 0.0, 60.0, HEIGHT / 2, 0.0, 0.0, 1.0]
        return CameraInfo(width=WIDTH, height=HEIGHT, k=k)

    def send_image(self, number: int, stamp_ns: int) -> None:
        self.image.publish(image_message(number, stamp_ns))

    def send_cloud(self, points: np.ndarray, frame: str = "map") -> None:
        self.cloud.publish(cloud_message(PointCloud(points), Header(frame_id=frame)))

    def send_transform(self, parent: str, child: str, stamp_ns: int, matrix: np.ndarray) -> None:
        self.broadcaster.sendTransform(stamped_transform(parent, child, stamp_from(stamp_ns), matrix))

    def localize(self, number: int, stamp_ns: int) -> PoseWithCovarianceStamped:
        """Send an image until its pose comes: it is sent best effort, and the node skips what it has seen."""
        until = time.monotonic() + 20
        while not (found := [pose for pose in self.poses if stamp_of(pose) == stamp_ns]):
            assert time.monotonic() < until, f"waited for the pose of image {number}; last: {self.status}"
            self.send_image(number, stamp_ns)
            with suppress(AssertionError):
                wait_for(lambda: stamp_ns in map(stamp_of, self.poses), "the pose", 2.0)
        return found[0]


class _RecordingBuffer(Buffer):
    def __init__(self, record: list[TransformStamped]) -> None:
        super().__init__()
        self._record = record

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        self._record.append(transform)
        super().set_transform(transform, authority)


def image_message(number: int, stamp_ns: int) -> Image:
    pixels = np.full((HEIGHT, WIDTH, 3), number, np.uint8)
    message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH, data=pixels.tobytes())
    message.header.frame_id = CAMERA_FRAME
    message.header.stamp = stamp_from(stamp_ns)
    return message


def compressed_message(
    pixels: NDArray[np.uint8], stamp_ns: int, frame: str = CAMERA_FRAME
) -> CompressedImage:
    """`pixels` (H, W, 3) RGB as a PNG."""
    data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
    message = CompressedImage(format="png", data=data)
    message.header.frame_id, message.header.stamp = frame, stamp_from(stamp_ns)
    return message


def stamp_of(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def start_node(
    context: Context, namespace: str = "", arguments: Sequence[str] = (), **parameters: Any
) -> Spinning:
    """`arguments` are those that follow --ros-args."""
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = LocalizationNode(
        ScriptedLocalizer,
        context=context,
        namespace=namespace,
        cli_args=["--ros-args", *arguments],
        parameter_overrides=overrides,
    )
    return Spinning(node, context)


def new_context() -> Context:
    context = Context()
    rclpy.init(context=context)
    return context
