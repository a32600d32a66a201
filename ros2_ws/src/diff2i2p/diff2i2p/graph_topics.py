"""Checks of the topics that a node subscribes to: publishers, their types and their QoS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

from diff2i2p.topic_types import type_mistake
from diff2i2p_core.messages.kinds import COMPRESSED, IMAGE
from diff2i2p_core.messages.packets import PACKET

Check = dict[str, str]
INPUTS = {
    IMAGE: "image",
    COMPRESSED: "compressed image",
    PACKET: "video",
    "sensor_msgs/msg/CameraInfo": "camera_info",
    "sensor_msgs/msg/PointCloud2": "map cloud",
    "nav_msgs/msg/Odometry": "odometry",
}
"""The node's subscriptions by message type."""


def check(name: str, status: str, found: str, fix: str = "") -> Check:
    """A row of `diff2i2p doctor`; the status is ok, note or missing."""
    return {"name": name, "status": status, "found": found, "fix": fix}


class TopicChecks:
    """`wait` waits some seconds until a condition holds, and tells whether it does. `camera_of`: the camera
    that a topic belongs to, if there are several."""

    def __init__(
        self,
        node: Node,
        name: str,
        namespace: str,
        wait: Callable[[Callable[[], object], float], bool],
        camera_of: Mapping[str, str],
    ) -> None:
        self._node = node
        self._of = (name, namespace)
        self._wait = wait
        self._camera_of = camera_of
        self.camera_infos: dict[str, str] = {}
        """The topic of the calibration of each camera ("" if there is only one), once they were checked."""

    def checks(self) -> Iterator[Check]:
        subscribed = self._node.get_subscriber_names_and_types_by_node(*self._of)
        topics = {topic: kinds[0] for topic, kinds in sorted(subscribed)}
        for topic, kind in topics.items():
            if what := INPUTS.get(kind):
                camera = self._camera_of.get(topic, "")
                if what == "camera_info":
                    self.camera_infos[camera] = topic
                alike = [each for each in topics if topics[each] == kind]
                alone = [self._camera_of.get(each, "") for each in alike].count(camera) == 1
                name = f"{camera} {what}" if camera else what
                yield self._check(name if alone else f"{name} {topic}", topic, kind)

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
        if kind == COMPRESSED:
            return check(name, "note", f"nobody publishes {topic}")
        if kind == IMAGE and self._has_publishers(f"{topic}/compressed"):
            return check(name, "note", f"nobody publishes {topic}", "needed unless compressed images come")
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
