"""Quality of service of the node's topics. All can be overridden by parameters `qos_overrides.TOPIC...`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions

from diff2i2p_core.errors import InputError

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

__all__ = ["UnsupportedEventTypeError"]

OVERRIDABLE = QoSOverridingOptions(
    [QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY]
)

# Each function returns a new profile, because rclpy writes the overrides into the profile it is given.


def sensor_qos() -> QoSProfile:
    """Best effort, newest message only: an old image is useless."""
    return QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)


def video_qos() -> QoSProfile:
    """Best effort, so that every driver fits; bursts may wait, because each packet is needed."""
    return QoSProfile(depth=100, reliability=qos_profile_sensor_data.reliability)


def odometry_qos() -> QoSProfile:
    """Best effort, so that every driver fits; a second of fast odometry may wait."""
    return QoSProfile(depth=100, reliability=qos_profile_sensor_data.reliability)


def latched_qos() -> QoSProfile:
    """Reliable, and kept for late subscribers."""
    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def output_qos(depth: int = 10) -> QoSProfile:
    """Reliable and volatile: what RViz and most tools request."""
    return QoSProfile(depth=depth)


def transform_qos() -> QoSProfile:
    """tf2's QoS for /tf."""
    return QoSProfile(depth=100)


def static_transform_qos(depth: int) -> QoSProfile:
    """tf2's QoS for /tf_static: depth 1 for a publisher, 100 for a subscriber."""
    return QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def on_mismatch(
    topic: str,
    complain: Callable[[str, Exception], None],
    lost: Callable[[Any], None] | None = None,
) -> SubscriptionEventCallbacks:
    """Reports that a publisher's messages on `topic` will never arrive, which DDS does silently otherwise.

    `lost` gets an event if messages were lost on the way.
    """

    def incompatible(event: Any) -> None:
        policy = QoSPolicyKind(event.last_policy_kind).name.lower()
        words = (
            f"a publisher on {topic} offers less {policy} than the node requests; its messages never arrive"
        )
        complain(
            topic, InputError(f"{words}: change its QoS, or the node's with qos_overrides (docs/ros2.md)")
        )

    return SubscriptionEventCallbacks(incompatible_qos=incompatible, message_lost=lost)


def keeps_messages(node: Node, topic: str) -> bool:
    """Whether a publisher keeps its last message for late subscribers that ask for `latched_qos`."""
    wanted = latched_qos()
    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(node.resolve_topic_name(topic))]
    return any(
        (qos.durability, qos.reliability) == (wanted.durability, wanted.reliability) for qos in offered
    )
