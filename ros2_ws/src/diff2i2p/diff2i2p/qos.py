"""Quality of service of the node's topics; all can be overridden by parameters `qos_overrides.TOPIC...`."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions

OVERRIDABLE = QoSOverridingOptions.with_default_policies()
OVERRIDABLE_LATCHED = QoSOverridingOptions([*OVERRIDABLE.policy_kinds, QoSPolicyKind.DURABILITY])
"""History, depth and reliability, and for maps durability, too."""

# A new profile each time: rclpy writes the overrides into the one that it is given.


def sensor_qos() -> QoSProfile:
    """Best effort, and only the newest: an old image is of no use."""
    return QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)


def latched_qos() -> QoSProfile:
    """Reliable, and kept for subscribers that come later."""
    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def output_qos(depth: int = 10) -> QoSProfile:
    """Reliable, volatile: what RViz and most tools ask for."""
    return QoSProfile(depth=depth)
