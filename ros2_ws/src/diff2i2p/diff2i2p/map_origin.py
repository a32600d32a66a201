"""Where the map is in the coordinates that its cloud had, such as UTM: a static transform."""

from __future__ import annotations

import numpy as np
from rclpy.lifecycle import LifecycleNode

from diff2i2p.parameters import Parameters
from diff2i2p.poses import stamped_transform
from diff2i2p.transforms import StaticTransformBroadcaster
from diff2i2p_core.geometry.se3 import compose


class MapOrigin:
    """Lives as long as the node: a transform on /tf_static stays until its publisher ends."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._broadcaster: StaticTransformBroadcaster | None = None

    def publish(self, origin: tuple[float, ...] | None, parameters: Parameters) -> None:
        """`origin`: the coordinates of the map's zero, if it is known. Any thread."""
        parent, child = parameters.origin_frame, parameters.map_frame
        if origin is None or not parent or not parameters.publish_tf:
            if self._broadcaster is not None:
                self._node.get_logger().warning(
                    "the origin of the previous map is still on /tf_static: restart the nodes that use it"
                )
            return
        if self._broadcaster is None:
            self._broadcaster = StaticTransformBroadcaster(self._node)
        now = self._node.get_clock().now().to_msg()
        parent_from_map = compose(np.eye(3), origin)
        self._broadcaster.sendTransform(stamped_transform(parent, child, now, parent_from_map))
        x, y, z = origin
        self._node.get_logger().info(f"{parent} -> {child} is ({x:.10g}, {y:.10g}, {z:.10g})")
