"""The lifecycle node: subscriptions in, worker, pose and TF out, diagnostics."""

from __future__ import annotations

import time
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from diff2i2p import parameters
from diff2i2p.cameras import camera_from_info
from diff2i2p.clouds import cloud_message
from diff2i2p.frames import Frames
from diff2i2p.health import Health
from diff2i2p.images import check_compressed, check_image
from diff2i2p.pipeline import Job, LocalizerClass, Pipeline
from diff2i2p.poses import matrix_from_pose, nanoseconds
from diff2i2p.transforms import Buffer, TransformBroadcaster, TransformListener
from diff2i2p.worker import Worker
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

IMAGE_QOS = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)
LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

STOP_TIMEOUT = 3.0
"""Seconds to wait for the work in hand when the node is cleaned up."""


class LocalizationNode(LifecycleNode):
    """Localizes camera images in a point cloud map. Topics, QoS and parameters: docs/ros2.md."""

    def __init__(self, localizer_class: LocalizerClass | None = None, **arguments: Any) -> None:
        """`localizer_class` replaces diff2i2p_core's Localizer; `arguments` go to rclpy's node."""
        super().__init__("diff2i2p", **arguments)
        parameters.declare(self)
        self._localizer_class = localizer_class
        self._health = Health()
        self._pipeline: Pipeline | None = None
        self._worker: Worker | None = None
        self._listener: TransformListener | None = None
        self._broadcaster: TransformBroadcaster | None = None
        self._camera: Camera | None = None
        self._last_stamp = 0
        self._last_cloud = 0
        self._last_judgement: tuple[bytes, str] | None = None
        self._map_subscription: Subscription | None = None
        self._image_subscriptions: list[Subscription] = []
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._map_publisher = self.create_publisher(PointCloud2, "~/map", LATCHED_QOS)
        self._pose_publisher = self.create_publisher(PoseWithCovarianceStamped, "pose", 10)
        wall = Clock(clock_type=ClockType.STEADY_TIME)  # runs also while a simulation is paused
        self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics, clock=wall)
        backwards = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump_handle = self.get_clock().create_jump_callback(backwards, post_callback=self._on_time_jump)
        self._autostart_timer: Timer | None = None
        if self.get_parameter("autostart").value:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=wall)

    # Lifecycle

    def _autostart(self) -> None:
        assert self._autostart_timer is not None
        self.destroy_timer(self._autostart_timer)
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and take the map file, or start to wait for a map cloud."""
        try:
            self._set_up()
        except Exception as error:  # rclpy would swallow it without a word
            if not isinstance(error, InputError):
                self.get_logger().error(traceback.format_exc())
            self._release()
            self._health.failure = _words("configure", error)
            self.get_logger().error(f"not configured: {self._health.failure}")
            self._publish_diagnostics()
            return FAILURE
        self._enter("inactive")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        assert self._health.parameters is not None
        subscribe = self.create_subscription
        transport = self._health.parameters.image_transport
        self._image_subscriptions = [subscribe(CameraInfo, "camera_info", self._on_camera_info, IMAGE_QOS)]
        if transport != "compressed":
            self._image_subscriptions.append(subscribe(Image, "image", self._on_image, IMAGE_QOS))
        if transport != "raw":
            self._image_subscriptions.append(
                subscribe(CompressedImage, "image/compressed", self._on_compressed, IMAGE_QOS)
            )
        self._image_subscriptions.append(
            subscribe(PoseWithCovarianceStamped, "initialpose", self._on_initialpose, 10)
        )
        self._enter("active")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the camera; the map stays."""
        self._unsubscribe()
        self._enter("inactive")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop everything that the parameters chose."""
        self._release()
        self._enter("unconfigured")
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        self._enter("finalized")
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unforeseen exception in a transition: back to unconfigured, to be configured again."""
        self._release()
        self._health.failure = "a transition failed; see the log"
        self._enter("unconfigured")
        return SUCCESS

    def _set_up(self) -> None:
        values = parameters.read(self)
        self._health.parameters = values
        self._health.failure = ""
        buffer = Buffer()
        if values.odom_frame or values.base_frame:
            self._listener = TransformListener(buffer, self)
        self._buffer = buffer
        localizer_class = self._localizer_class
        if localizer_class is None:  # imports torch: seconds
            from diff2i2p_core.localization.localizer import Localizer

            localizer_class = Localizer
        self._pipeline = Pipeline(values, localizer_class, Frames(values, buffer), self._health)
        if values.map:
            self._pipeline.open_map()
            self._publish_map()
        else:
            self._map_subscription = self.create_subscription(
                PointCloud2, "map_cloud", self._on_map_cloud, LATCHED_QOS
            )
        if self._broadcaster is None and values.publish_tf:
            self._broadcaster = TransformBroadcaster(self)
        self._worker = Worker({"map_cloud": self._build_map, "image": self._localize}, self._on_worker_error)

    def _enter(self, state: str) -> None:
        self._health.enter(state)
        self._publish_diagnostics()

    def _unsubscribe(self) -> None:
        for subscription in self._image_subscriptions:
            self.destroy_subscription(subscription)
        self._image_subscriptions = []
        self._camera = None
        self._last_stamp = 0
        if self._worker is not None:
            self._worker.discard("image")

    def _release(self) -> None:
        self._unsubscribe()
        if self._map_subscription is not None:
            self.destroy_subscription(self._map_subscription)
            self._map_subscription = None
        self._last_cloud = 0
        if self._worker is not None:
            self._worker.stop(STOP_TIMEOUT)
            self._worker = None
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None
        self._pipeline = None
        self._health.map = ""

    # Messages in, on the executor's thread

    def _on_camera_info(self, message: CameraInfo) -> None:
        assert self._health.parameters is not None
        try:
            self._camera = camera_from_info(message, rectified=self._health.parameters.image_is_rectified)
            self._health.saw("camera_info")
            self._health.mended("camera_info")
            self._publish_change()
        except InputError as error:
            self._camera = None
            self._complain("camera_info", error)

    def _on_image(self, message: Image) -> None:
        self._accept(message, check_image)

    def _on_compressed(self, message: CompressedImage) -> None:
        self._accept(message, check_compressed)

    def _accept(self, message: Image | CompressedImage, check: Any) -> None:
        values, pipeline, worker = self._health.parameters, self._pipeline, self._worker
        if values is None or pipeline is None or worker is None:
            return
        try:
            check(message)
            stamp = nanoseconds(message.header.stamp)
            if stamp == self._last_stamp:
                return
            self._last_stamp = stamp
            self._health.count("images_received")
            camera_frame = values.camera_frame or message.header.frame_id.removeprefix("/")
            if not camera_frame:
                raise InputError("image: its header has no frame_id; set it, or the parameter camera_frame")
        except InputError as error:
            self._complain("image", error)
            return
        self._health.saw("image")
        if self._camera is not None and pipeline.localizer is not None:
            worker.put("image", Job(message, self._camera, camera_frame, time.monotonic()))

    def _on_map_cloud(self, message: PointCloud2) -> None:
        assert self._health.parameters is not None and self._worker is not None
        wanted = self._health.parameters.map_frame
        frame = message.header.frame_id.removeprefix("/")
        if frame != wanted:
            fault = (
                f"map cloud: it is in frame '{frame}', the parameter map_frame is '{wanted}'; make them equal"
            )
            self._complain("map_cloud", InputError(fault))
            return
        layout = str(
            (message.fields, message.width, message.height, message.point_step, message.is_bigendian)
        )
        content = hash((layout, bytes(message.data)))
        if content != self._last_cloud:  # some publishers repeat a cloud instead of latching it
            self._last_cloud = content
            self._worker.put("map_cloud", message)

    def _on_initialpose(self, message: PoseWithCovarianceStamped) -> None:
        assert self._health.parameters is not None and self._pipeline is not None
        wanted = self._health.parameters.map_frame
        frame = message.header.frame_id.removeprefix("/")
        try:
            if frame != wanted:
                raise InputError(
                    f"initialpose: it is in frame '{frame}', not in '{wanted}'; set RViz's fixed frame"
                )
            self._pipeline.prior.set_initial(matrix_from_pose(message.pose.pose, "initialpose"))
        except InputError as error:
            self._complain("initialpose", error)

    def _on_time_jump(self, jump: TimeJump) -> None:
        self.get_logger().warning("time jumped back: transforms and the last pose are forgotten")
        self._last_stamp = 0
        if self._pipeline is not None:
            self._buffer.clear()
            self._pipeline.prior.reset()

    # Work, on the worker's thread

    def _build_map(self, message: PointCloud2) -> None:
        pipeline, worker = self._pipeline, self._worker
        if pipeline is None or worker is None:
            return
        pipeline.build_map(message)
        if not worker.stopped:
            self._publish_map()
            self._publish_change()

    def _localize(self, job: Job) -> None:
        pipeline, worker = self._pipeline, self._worker
        if pipeline is None or worker is None:
            return
        result = pipeline.process(job)
        if worker.stopped or self._health.state != "active":
            return
        if result.transform is not None and self._broadcaster is not None:
            self._broadcaster.sendTransform(result.transform)
        if result.pose is not None:
            self._pose_publisher.publish(result.pose)
        if result.tf_fault:
            self._complain("tf", InputError(result.tf_fault))
        self._publish_diagnostics()

    def _on_worker_error(self, slot: str, error: Exception) -> None:
        if not self.context.ok():  # the program ends: nothing can be published any more
            return
        if not isinstance(error, InputError):
            self.get_logger().error("".join(traceback.format_exception(error)))
        if slot == "map_cloud":
            self._last_cloud = 0
        self._complain(slot, error)

    # Out

    def _complain(self, topic: str, error: Exception) -> None:
        words = _words(topic, error)
        if self._health.fault(topic, words):
            self.get_logger().error(words)
        self._publish_change()

    def _publish_map(self) -> None:
        assert self._pipeline is not None and self._pipeline.localizer is not None
        assert self._health.parameters is not None
        localizer = self._pipeline.localizer
        header = Header(frame_id=self._health.parameters.map_frame, stamp=self.get_clock().now().to_msg())
        self._map_publisher.publish(cloud_message(localizer.map_points, localizer.map_colors, header))

    def _publish_change(self) -> None:
        if self._health.judge() != self._last_judgement:
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        dropped = 0 if self._worker is None else self._worker.dropped("image")
        status = self._health.status(f"{self.get_name()}: localization", {"images_dropped": dropped})
        self._last_judgement = (status.level, status.message)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def destroy_node(self) -> None:
        """Stop the worker before its publishers go."""
        self._release()
        super().destroy_node()


def _words(where: str, error: Exception) -> str:
    """An InputError speaks for itself; anything else is a fault of the program."""
    return str(error) if isinstance(error, InputError) else f"{where}: {type(error).__name__}: {error}"
