"""Where the first prior comes from: `initialpose`, its service, the saved pose, or a parameter."""

from __future__ import annotations

from collections.abc import Callable

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode

from diff2i2p.answers import Answer
from diff2i2p.diagnostics import Diagnostics
from diff2i2p.health import Health
from diff2i2p.initial_pose import InitialPose, pose_from_message, pose_from_parameter
from diff2i2p.parameters import Parameters
from diff2i2p.pose_file import PoseFile
from diff2i2p.qos import output_qos
from diff2i2p.subscriptions import Subscriptions
from diff2i2p_core.errors import InputError


class InitialPoses:
    """`give` passes a pose on for the next image, and tells whether there is a map for it."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        health: Health,
        diagnostics: Diagnostics,
        give: Callable[[InitialPose], bool],
    ) -> None:
        """InputError if the parameters for it cannot be used."""
        self._node = node
        self._map_frame = parameters.map_frame
        self._diagnostics = diagnostics
        self._give = give
        self._first = pose_from_parameter(parameters)
        self._file = PoseFile(parameters) if parameters.initial_pose_file else None
        self._subscriptions = Subscriptions(node, health, diagnostics)

    def subscribe(self) -> None:
        self._subscriptions.add(PoseWithCovarianceStamped, "initialpose", self._take, output_qos())

    def close(self) -> None:
        self._subscriptions.close()

    def tick(self) -> None:
        self._subscriptions.tick()

    def answer(self, message: PoseWithCovarianceStamped) -> Answer:
        """Take a pose from a service; a fault is counted like one on the topic."""
        try:
            self._take(message)
        except InputError as error:
            self._diagnostics.complain("initialpose", error)
            return False, str(error)
        return True, "the next image is searched near the pose"

    def _take(self, message: PoseWithCovarianceStamped) -> None:
        if not self._give(pose_from_message(message, self._map_frame, "initialpose")):
            raise InputError("initialpose: there is no map yet; send it again when there is one")

    def restore(self, map_name: str) -> None:
        """A map is in use. To the first one, give the saved pose, or else that of the parameter."""
        first, self._first = self._first, None
        where = "of the parameter initial_pose"
        if self._file is not None:
            try:
                saved = self._file.restore(map_name)
            except InputError as error:
                self._diagnostics.complain("pose_file", error)
            else:
                if saved is not None:
                    first, where = InitialPose(saved), f"saved in {self._file.path}"
        if first is not None:
            self._give(first)
            self._node.get_logger().info(f"the first prior is the pose {where}")

    def save(self, pose: PoseWithCovarianceStamped | None, map_name: str) -> Answer:
        """Write the last pose to the file."""
        if self._file is None:
            return False, "the parameter initial_pose_file is empty; name a file and configure again"
        if pose is None:
            return False, "there is no pose to save yet"
        try:
            self._file.save(pose, map_name)
        except InputError as error:
            self._diagnostics.complain("pose_file", error)
            return False, str(error)
        return True, f"saved to {self._file.path}"

    def save_if_due(self, pose: PoseWithCovarianceStamped | None, map_name: str, period: float) -> None:
        """Write a pose that is not saved yet, if the last attempt was `period` seconds ago."""
        if self._file is not None and self._file.is_due(pose, period):
            self.save(pose, map_name)
