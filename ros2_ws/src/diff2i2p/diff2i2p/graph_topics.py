"""Checks of the topics that a node subscribes to: publishers, their types and their QoS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

from diff2i2p.topic_types import type_mistake
from diff2i2p_core.messages.packets import PACKET

Check = dict[str, str]
INPUTS = {
    "sensor_msgs/msg/Image": "image",
    "sensor_msgs/msg/CompressedImage": "compressed image",
    PACKET: "video",
    "sensor_msgs/msg/CameraInfo": "camera_info",
    "sensor_msgs/msg/PointCloud2": "map cloud",
    "nav_msgs/msg/Odometry": "odometry",
}
"""The node's subscriptions by message type."""
OPTIONAL = ("compressed image",)


def check(name: str, status: str, found: str, fix: str = "") -> Check:
    """A row of `diff2i2p doctor`; the status is ok, note or missing."""
    return {"name": name, "status": status, "found": found, "fix": fix}


class TopicChecks:
    """`wait` waits some seconds until a condition holds, and tells whether it does."""

    def __init__(
        self, node: Node, name: str, namespace: str, wait: Callable[[Callable[[], object], float], bool]
    ) -> None:
        self._node = node
        self._of = (name, namespace)
        self._wait = wait
        self.camera_info = ""
        """The topic of the calibration, once it was checked."""

    def checks(self) -> Iterator[Check]:
        subscribed = self._node.get_subscriber_names_and_types_by_node(*self._of)
        topics = {topic: kinds[0] for topic, kinds in sorted(subscribed)}
        for topic, kind in topics.items():
            if what := INPUTS.get(kind):
                if what == "camera_info":
                    self.camera_info = topic
                alone = [*topics.values()].count(kind) == 1
                yield self._check(what if alone else f"{what} {topic}", topic, kind)

    def _check(self, name: str, topic: str, kind: str) -> Check:
        self._wait(lambda: self._node.get_publishers_info_by_topic(topic), 1.0)
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            return self._unpublished(name, topic, kind)
        if mistake := type_mistake(self._node, topic, kind):
            found, _, fix = mistake.partition("; ")
            return check(name, "missing", found, fix)
        wanted = self._requested(topic)
        faults = []
        for info in publishers:
            verdicts = [qos_check_compatible(info.qos_profile, profile) for profile in wanted]
            if all(fit == QoSCompatibility.ERROR for fit, _ in verdicts):
                faults.append(f"{info.node_name}: {verdicts[0][1].strip()}")
        if faults:
            found = f"incompatible QoS on {topic} ({'; '.join(faults)})"
            return check(
                name, "missing", found, "change the publisher's QoS, or the node's with qos_overrides"
            )
        return check(name, "ok", f"{topic}, {len(publishers)} publisher(s)")

    def _requested(self, topic: str) -> list[QoSProfile]:
        return [
            info.qos_profile
            for info in self._node.get_subscriptions_info_by_topic(topic)
            if (info.node_name, info.node_namespace) == self._of
        ]

    def _unpublished(self, name: str, topic: str, kind: str) -> Check:
        if name.startswith(OPTIONAL):
            return check(name, "note", f"nobody publishes {topic}")
        if mistake := type_mistake(self._node, topic, kind):
            found, _, fix = mistake.partition("; ")
            return check(name, "missing", found, fix)
        others = [other for other, types in self._node.get_topic_names_and_types() if kind in types]
        others = [other for other in others if self._has_publishers(other)]
        fix = f"remap {topic}; published are: {', '.join(others)}" if others else "start its publisher"
        return check(name, "missing", f"nobody publishes {topic}", fix)

    def _has_publishers(self, topic: str) -> bool:
        """Other than the node itself."""
        publishers = self._node.get_publishers_info_by_topic(topic)
        return any((info.node_name, info.node_namespace) != self._of for info in publishers)
