"""The configured node: map, worker and topics, set up from the parameters; it exists until cleanup."""

from __future__ import annotations

from pathlib import Path

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from sensor_msgs.msg import PointCloud2

from diff2i2p.answers import Answer, Answers, ready
from diff2i2p.diagnostics import Diagnostics, in_words
from diff2i2p.frames import Frames
from diff2i2p.health import Health
from diff2i2p.initial_pose import InitialPose
from diff2i2p.initial_poses import InitialPoses
from diff2i2p.inputs import CameraInputs
from diff2i2p.job import Job
from diff2i2p.map_inputs import MapInputs
from diff2i2p.map_odometry import MapOdometry
from diff2i2p.map_origin import MapOrigin
from diff2i2p.odometry_input import OdometryInput
from diff2i2p.outputs import Outputs
from diff2i2p.own_transform import OwnTransform
from diff2i2p.parameters import Parameters
from diff2i2p.pipeline import LocalizerClass, Pipeline
from diff2i2p.poses import nanoseconds
from diff2i2p.rig_inputs import RigInputs
from diff2i2p.transform_inputs import TransformInputs
from diff2i2p.transforms import Buffer, TransformBroadcaster
from diff2i2p.video_stream import check_transport
from diff2i2p.worker import Worker
from diff2i2p_core.errors import InputError

STOP_TIMEOUT = 3.0
"""Seconds to wait for the current work when the node is cleaned up."""

IMAGE_TIMEOUT = 10.0
"""Seconds after which `localize_once` answers that there is no result."""

SAVE_PERIOD = 10.0
"""Seconds between two saves of the pose, in case the node is killed."""


class Session:
    """Lives from configure to cleanup. Messages arrive on the executor's thread, results on the worker's."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        localizer_class: LocalizerClass,
        broadcaster: TransformBroadcaster | None,
        origin: MapOrigin,
        health: Health,
        diagnostics: Diagnostics,
    ) -> None:
        """Opens the map file, or starts waiting for a map cloud. InputError if map or weights are invalid."""
        self._node = node
        self.parameters = parameters
        self._origin = origin
        self._health = health
        self._diagnostics = diagnostics
        self._inputs: CameraInputs | RigInputs | None = None
        self._announced = False
        self._jumps = 0
        self._initial = InitialPoses(node, parameters, health, diagnostics, self._give_pose)
        self._image_answers = Answers(node)
        check_transport(parameters)
        self._buffer = Buffer()
        frames = Frames(parameters, self._buffer)
        self.pipeline = Pipeline(localizer_class, frames, health)
        if parameters.map:
            self.pipeline.open_map(parameters.map)
        self._own = OwnTransform(parameters.map_frame)
        odometry = MapOdometry(node, frames) if parameters.odom_frame else None
        self._outputs = Outputs(node, broadcaster, self._own, odometry)
        self._transforms: TransformInputs | None = None
        if parameters.odom_frame or parameters.base_frame or parameters.publish_tf:
            moved = None if odometry is None else odometry.moved
            self._transforms = TransformInputs(node, self._buffer, diagnostics.complain, self._own, moved)
        self._odometry: OdometryInput | None = None
        if odometry is not None and self._transforms is not None and parameters.odometry_source == "topic":
            take = self._transforms.take_odometry
            self._odometry = OdometryInput(node, parameters, health, diagnostics, take, odometry.moved)
        self.worker = Worker(
            {"map_cloud": self._build_map, "map_file": self._open_map, "image": self._localize},
            self._on_worker_error,
        )
        self._maps = MapInputs(node, parameters, health, diagnostics, self.worker.put)
        if parameters.map:
            self._map_in_use()

    # Lifecycle

    def activate(self) -> None:
        """Subscribe to the camera."""
        kind = RigInputs if self.parameters.cameras else CameraInputs
        self._inputs = kind(self._node, self.parameters, self._health, self._diagnostics, self._take)
        self._initial.subscribe()
        self._outputs.start_repeating(self.parameters)
        self._announced = False
        self._announce()

    def deactivate(self) -> None:
        """Drop the camera; the map stays."""
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        self._initial.close()
        self._outputs.stop_repeating()
        self._outputs.forget_transform()
        self.worker.discard("image")
        self._image_answers.answer((False, "the node was deactivated"))

    def close(self) -> None:
        self.deactivate()
        self.worker.stop(STOP_TIMEOUT)
        self._maps.close()
        if self._odometry is not None:
            self._odometry.close()
        if self._transforms is not None:
            self._transforms.close()
        self._initial.save_if_due(self._outputs.last_pose, self._health.map, 0.0)
        self._outputs.close()

    def apply(self, parameters: Parameters) -> None:
        """Use new values of the parameters that take effect at once."""
        self.parameters = parameters
        self._health.parameters = parameters
        self.pipeline.apply(parameters)
        if self._inputs is not None:
            self._inputs.parameters = parameters
            self._outputs.start_repeating(parameters)

    def time_jumped(self) -> None:
        """Time jumped back: forget everything that is known, because it belongs to a later time."""
        self._jumps += 1
        self._buffer.clear()
        if self._transforms is not None:
            self._transforms.reset()
        self.pipeline.reset()
        self._outputs.forget()
        if self._inputs is not None:
            self._inputs.reset()
        self.worker.discard("image")

    def tick(self) -> None:
        """Called about once a second."""
        words = self._health.judge()[1]
        self._image_answers.expire(f"no result within {IMAGE_TIMEOUT:g} s: {words}")
        self._maps.tick()
        if self._inputs is not None:
            self._inputs.tick()
        if self._odometry is not None:
            self._odometry.tick()
        self._initial.tick()
        self._health.note("transform", self._own.conflict)
        self._initial.save_if_due(self._outputs.last_pose, self._health.map, SAVE_PERIOD)

    # Services

    def relocalize(self) -> Answer:
        self.pipeline.reset()
        self._outputs.forget_transform()
        return True, "the pose is forgotten; the next image is searched in the whole map"

    def localize_once(self) -> Future:
        if self._health.state != "active":
            return ready((False, "the node is inactive; activate it"))
        if self.pipeline.localizer is None:
            return ready((False, "there is no map yet"))
        return self._image_answers.ask(IMAGE_TIMEOUT)

    def reload_map(self) -> Future:
        return self._maps.reload()

    def map_path(self, url: str) -> Path:
        """The file that `load_map` means. InputError if that cannot be a file."""
        return self._maps.path_of(url)

    @property
    def loads_map(self) -> bool:
        """Whether a request for a map is being worked on."""
        return self._maps.busy

    async def load_map(self, path: Path) -> Answer:
        return await self._maps.load(path)

    def set_initial_pose(self, message: PoseWithCovarianceStamped) -> Answer:
        return self._initial.answer(message)

    def save_pose(self) -> Answer:
        return self._initial.save(self._outputs.last_pose, self._health.map)

    # Messages in, on the executor's thread

    def _take(self, job: Job) -> None:
        wanted = self.parameters.mode == "continuous" or self._image_answers
        if wanted and self.pipeline.localizer is not None:
            self._health.count("images_dropped", int(self.worker.put("image", job)))

    def _give_pose(self, pose: InitialPose) -> bool:
        self._outputs.forget_transform()
        return self.pipeline.set_initial(pose)

    # Work, on the worker's thread

    def _build_map(self, message: PointCloud2) -> None:
        self.pipeline.build_map(message, self._node.get_logger().info)
        self._map_in_use()

    def _open_map(self, name: str) -> None:
        self.pipeline.open_map(name)
        self._map_in_use()
        self._maps.loaded(f"loaded {self._health.map}")

    def _map_in_use(self) -> None:
        if self.worker.stopped:
            return
        assert self.pipeline.localizer is not None
        self._outputs.forget()
        self._outputs.publish_map(self.pipeline.localizer, self.parameters.map_frame)
        self._origin.publish(self.pipeline.localizer.map.origin, self.parameters)
        self._initial.restore(self._health.map)
        self._announce()
        self._diagnostics.publish_change()

    def _announce(self) -> None:
        """Log once per activation what the node uses, so that a wrong topic or frame is noticed at once; then
        log each new map."""
        p, resolve, log = self.parameters, self._node.resolve_topic_name, self._node.get_logger()
        if self.pipeline.localizer is None:
            use = f"no map file is given: waiting for a cloud on {resolve('map_cloud')}"
        else:
            use = f"map {self._health.map} of {len(self.pipeline.localizer.map.cloud)} points"
        if self._announced:
            log.info(f"now {use}")
        elif self._inputs is not None:
            self._announced = True
            child = p.odom_frame or p.base_frame or p.camera_frame or "the images' frame"
            sends = f"publishes {p.map_frame} -> {child}" if p.publish_tf else "publishes no transform"
            names = [f"{camera}/" for camera in p.cameras] or [""]
            topics = ", ".join(resolve(f"{name}image") for name in names)
            images = f"images from {topics}, calibration from {resolve(f'{names[0]}camera_info')}"
            log.info(f"active: {images}; {sends}; {use}")

    def _localize(self, job: Job) -> None:
        localizer = self.pipeline.localizer
        if self.parameters.mode == "on_request" and not self._image_answers:
            return  # it arrived while the previous image was being answered
        jumps = self._jumps
        result = self.pipeline.process(job, self._node.get_clock().now().nanoseconds)
        if result is None or localizer is None:
            return
        if self.worker.stopped or self._health.state != "active" or self._jumps != jumps:
            return
        self._outputs.publish(result, self.parameters)
        if result.pose is not None:
            now = self._node.get_clock().now().nanoseconds
            self._health.poses.tick(nanoseconds(result.pose.header.stamp), now)
        if result.tf_fault:
            self._diagnostics.complain("tf", InputError(result.tf_fault))
        self._diagnostics.publish()
        words = result.tf_fault or self._health.outcome[1]
        if result.pose is not None and not result.tf_fault:
            at = result.pose.pose.pose.position
            words += f" at ({at.x:.2f}, {at.y:.2f}, {at.z:.2f}), {result.localization.num_inliers} inliers"
        self._image_answers.answer((result.pose is not None, words), asked_before=job.received)
        self._outputs.publish_pictures(result, job, localizer, self.parameters.map_frame)

    def _on_worker_error(self, slot: str, error: Exception) -> None:
        if not self._node.context.ok():  # the program is ending: nothing can be published any more
            return
        self._diagnostics.complain(slot, error)
        words = in_words(slot, error)
        if slot == "image":
            self._image_answers.answer((False, words))
        else:
            self._maps.failed(words)
