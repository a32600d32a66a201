"""Checks a running localization node and its surroundings for common start-up faults.

    python -m diff2i2p.graph_check --node /diff2i2p --seconds 5

Prints a JSON list of checks in the format of `diff2i2p doctor`: name, status (ok, note, missing), found, fix.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from diff2i2p.graph_topics import Check, TopicChecks, check
from diff2i2p.qos import keeps_messages, latched_qos, sensor_qos, static_transform_qos

ASKED = (
    "map_frame",
    "odom_frame",
    "odometry_source",
    "base_frame",
    "camera_frame",
    "cameras",
    "use_sim_time",
)
TF_SECONDS = 1.0
"""How long to listen for a second parent of a frame."""
ANSWER_SECONDS = 10.0
"""Minimum time to wait for the answer of an existing node: a busy node answers late, a hanging one never."""
LEVELS = {DiagnosticStatus.OK: "ok", DiagnosticStatus.WARN: "note"}
MOST_SECONDS = 60.0
"""Difference of the images' stamps from the node's clock that is not worth a note."""


class GraphCheck:
    """Listens for some seconds, and waits for each item only until it arrives."""

    def __init__(self, context: Context, target: str, seconds: float) -> None:
        self._node = Node(f"graph_check_{os.getpid()}", context=context)
        self._target = "/" + target.strip("/")
        namespace, _, self._name = self._target.rpartition("/")
        self._namespace = namespace or "/"
        self._seconds = seconds
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._said: DiagnosticStatus | None = None
        self._parents: dict[str, set[str]] = defaultdict(set)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        static = static_transform_qos(depth=100)
        self._node.create_subscription(TFMessage, "/tf", self._on_transforms, QoSProfile(depth=100))
        self._node.create_subscription(TFMessage, "/tf_static", self._on_transforms, static)

    def run(self) -> list[Check]:
        try:
            return list(self._checks())
        finally:
            self._executor.shutdown()
            self._node.destroy_node()

    def _checks(self) -> Iterator[Check]:
        me = (self._name, self._namespace)
        graph = self._node.get_node_names_and_namespaces
        if not self._wait(lambda: me in graph()):
            mine = self._node.get_fully_qualified_name()
            others = sorted({f"{space.rstrip('/')}/{name}" for name, space in graph()} - {mine})
            found = f"no node {self._target}; nodes here: {', '.join(others) or 'none'}"
            fix = "start it, name it with --node, or compare ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE"
            if alike := [other for other in others if other.endswith(f"/{self._name}")]:
                fix = f"in a namespace: --node {alike[0]}"
            yield check("node", "missing", found, fix)
            return
        if graph().count(me) > 1:
            fix = "stop one of them, or give each a namespace; the checks below may be about either"
            yield check("node", "missing", f"several nodes are named {self._target}", fix)
        values = self._parameters()
        if not values:
            yield check("node", "missing", f"{self._target} does not answer", "is it hanging? restart it")
            return
        yield self._diagnostics()
        yield from self._images()
        cameras = [name for name in values["cameras"] if name] or [""]
        camera_of = {topic: name for name in cameras for topic in self._value(f"topics_{name}").split(", ")}
        topics = TopicChecks(self._node, self._name, self._namespace, self._wait, camera_of)
        yield from topics.checks()
        if values["odom_frame"] or values["base_frame"]:
            frames = {}
            for name in cameras:
                topic = topics.camera_infos.get(name, "")
                frames[name] = values["camera_frame"] or (self._frame_of(topic) if topic else "")
            yield from self._frames(values, frames)
        yield from self._parents_of_frames()
        yield from self._clock(bool(values["use_sim_time"]))

    def _diagnostics(self) -> Check:
        if not self._wait_answer(lambda: self._said is not None) or self._said is None:
            return check("diagnostics", "missing", "the node publishes nothing on /diagnostics", "restart it")
        state = self._value("state")
        found = f"{state}: {self._said.message}"
        if state != "active" and self._said.level == DiagnosticStatus.OK:
            return check("diagnostics", "note", found, f"ros2 lifecycle set {self._target} activate")
        status = LEVELS.get(self._said.level, "missing")
        return check("diagnostics", status, found, "" if status == "ok" else "docs/troubleshooting.md")

    def _images(self) -> Iterator[Check]:
        """What the node counts and measures about its images."""
        age, lost = float(self._value("image_age_s") or 0), int(self._value("images_lost") or 0)
        if abs(age) > MOST_SECONDS:
            side = "before" if age > 0 else "after"
            found = f"the stamps of the images are {_duration(abs(age))} {side} the node's clock"
            fix = "a bag needs use_sim_time and --clock; a driver must stamp with the clock of ROS"
            yield check("image stamps", "note", found, fix)
        silent = self._value("silent_cameras")
        for camera in [] if silent in ("", "none") else silent.split(", "):
            yield check(f"{camera} images", "missing", f"no image of {camera}", "is its driver running?")
        if lost:
            found = f"{lost} images were lost on the way, {self._value('images_received')} arrived"
            yield check("images", "note", found, "give the camera driver the DDS profile (docs/ros2.md)")

    def _value(self, key: str) -> str:
        rows = [] if self._said is None else self._said.values
        return next((str(row.value) for row in rows if row.key == key), "")

    def _frame_of(self, topic: str) -> str:
        """The frame that a camera_info names, also one that was published once; "" if none arrives."""
        heard: list[CameraInfo] = []
        profiles = [sensor_qos(), *([latched_qos()] if keeps_messages(self._node, topic) else [])]
        subscriptions = [
            self._node.create_subscription(CameraInfo, topic, heard.append, qos) for qos in profiles
        ]
        self._wait(lambda: heard)
        for subscription in subscriptions:
            self._node.destroy_subscription(subscription)
        return heard[0].header.frame_id.removeprefix("/") if heard else ""

    def _frames(self, values: dict[str, Any], cameras: dict[str, str]) -> Iterator[Check]:
        """The transforms that other nodes must publish by the frame contract. `cameras`: their frames."""
        base, odom, frames = values["base_frame"], values["odom_frame"], [*cameras.values()]
        for camera, frame in cameras.items():
            if not frame:
                whose = f"the frame of {camera}" if camera else "the camera's frame"
                found = f"{whose} is unknown: no camera_info was received"
                yield check("TF", "missing" if camera else "note", found, "is its driver running?")
        fix = "start robot_state_publisher, or set camera_frame or base_frame"
        wanted = [(base, frame, fix) for frame in frames]
        if values["odometry_source"] == "tf":
            wanted += [(odom, base or frames[0], "start the odometry, or set odom_frame or base_frame")]
        for parent, child, fix in wanted:
            if not parent or not child:
                continue
            name = f"TF {parent} <- {child}"
            if self._wait(lambda p=parent, c=child: self._root(p) == self._root(c)):  # type: ignore[misc]
                yield check(name, "ok", "connected")
            else:
                known = set(self._parents).union(*self._parents.values())
                absent = [f"'{frame}'" for frame in (parent, child) if frame not in known]
                found = f"nobody publishes {' or '.join(absent)}" if absent else "in two unconnected trees"
                yield check(name, "missing", found, fix)

    def _parents_of_frames(self) -> Iterator[Check]:
        self._wait(lambda: any(len(parents) > 1 for parents in self._parents.values()), TF_SECONDS)
        for frame, parents in self._parents.items():
            if len(parents) > 1:
                found = f"'{frame}' has the parents {', '.join(sorted(parents))}"
                fix = "stop one of the publishers: a frame has one parent (docs/frame_contract.md)"
                yield check(f"TF {frame}", "missing", found, fix)

    def _clock(self, simulated: bool) -> Iterator[Check]:
        published = bool(self._node.get_publishers_info_by_topic("/clock"))
        if simulated and not published:
            fix = "play the bag with --clock, or set use_sim_time false"
            yield check("clock", "missing", "use_sim_time is set, but nobody publishes /clock", fix)
        elif published and not simulated:
            yield check("clock", "note", "/clock is published, but use_sim_time is false", "set use_sim_time")

    def _parameters(self) -> dict[str, Any]:
        """The values of ASKED; empty if the node does not answer."""
        client = self._node.create_client(GetParameters, f"{self._target}/get_parameters")
        if not self._wait_answer(client.service_is_ready):
            return {}
        future = client.call_async(GetParameters.Request(names=list(ASKED)))
        if not self._wait_answer(future.done):
            return {}
        return dict(zip(ASKED, map(parameter_value_to_python, future.result().values), strict=True))

    def _root(self, frame: str) -> str:
        seen = {frame}
        while (parents := self._parents.get(frame)) and (parent := min(parents)) not in seen:
            frame = parent
            seen.add(frame)
        return frame

    def _wait_answer(self, condition: Callable[[], Any]) -> bool:
        return self._wait(condition, max(self._seconds, ANSWER_SECONDS))

    def _wait(self, condition: Callable[[], Any], seconds: float | None = None) -> bool:
        until = time.monotonic() + (self._seconds if seconds is None else seconds)
        while not condition():
            if time.monotonic() > until:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        name = f"{self._target.lstrip('/')}: localization"
        self._said = next((status for status in message.status if status.name == name), self._said)

    def _on_transforms(self, message: TFMessage) -> None:
        for transform in message.transforms:
            child, parent = transform.child_frame_id, transform.header.frame_id
            self._parents[child.removeprefix("/")].add(parent.removeprefix("/"))


def _duration(seconds: float) -> str:
    for name, length in (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--node", default="/diff2i2p", help="full name of the localization node")
    parser.add_argument("--seconds", type=float, default=5.0, help="maximum time to wait for each item")
    arguments = parser.parse_args()
    context = Context()
    rclpy.init(context=context)
    try:
        print(json.dumps(GraphCheck(context, arguments.node, arguments.seconds).run()))
    finally:
        context.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
