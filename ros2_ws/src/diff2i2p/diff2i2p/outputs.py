"""What the node publishes: pose, transform, path and map, and pictures for subscribers."""

from __future__ import annotations

from collections import deque

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.timer import Timer
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from diff2i2p.clouds import cloud_message
from diff2i2p.images import rgb_message
from diff2i2p.job import Job
from diff2i2p.map_odometry import MapOdometry
from diff2i2p.own_transform import OwnTransform
from diff2i2p.parameters import Parameters
from diff2i2p.pipeline import Result
from diff2i2p.poses import nanoseconds, stamp_from
from diff2i2p.qos import OVERRIDABLE, latched_qos, output_qos
from diff2i2p.transforms import TransformBroadcaster
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.localization.localizing import Localizing


class Outputs:
    """Publishers of the results. `~/debug_image`, `~/inliers` and `path` cost nothing without subscribers."""

    def __init__(
        self,
        node: LifecycleNode,
        broadcaster: TransformBroadcaster | None,
        own: OwnTransform,
        odometry: MapOdometry | None = None,
    ) -> None:
        self._node = node
        self._odometry = odometry
        self._broadcaster = broadcaster
        self._own = own
        self.last_pose: PoseWithCovarianceStamped | None = None
        self._path: deque[PoseStamped] = deque()
        self._held: tuple[TransformStamped, int] | None = None
        self._repeated = 0
        self._repeat_timer: Timer | None = None
        self._pose = self._create(PoseWithCovarianceStamped, "pose", output_qos())
        self._path_topic = self._create(Path, "path", output_qos(1))
        self._debug_image = self._create(Image, "~/debug_image", output_qos(1))
        self._inliers = self._create(PointCloud2, "~/inliers", output_qos(1))
        self._map = self._create(PointCloud2, "~/map", latched_qos())

    def close(self) -> None:
        for publisher in (self._pose, self._path_topic, self._debug_image, self._inliers, self._map):
            self._node.destroy_publisher(publisher)
        if self._odometry is not None:
            self._odometry.close()

    def forget(self) -> None:
        """Forget the poses so far: they belong to another map or another time."""
        self.last_pose = None
        self._path = deque()
        self.forget_transform()

    def forget_transform(self) -> None:
        """Do not use the last transform again."""
        self._held, self._repeated = None, 0
        if self._odometry is not None:
            self._odometry.forget()

    def publish(self, result: Result, parameters: Parameters) -> None:
        """Publish pose, transform and path: what other nodes wait for."""
        if result.pose is None:
            return
        if result.transform is not None and self._broadcaster is not None:
            self._send(self._broadcaster, result.transform)
            self._held = result.transform, nanoseconds(result.pose.header.stamp)
        if result.transform is not None and self._odometry is not None:
            self._odometry.correct(result.pose, result.transform, result.body)
        self._pose.publish(result.pose)
        self.last_pose = result.pose
        path = self._path
        path.append(PoseStamped(header=result.pose.header, pose=result.pose.pose.pose))
        while len(path) > parameters.path_length:
            path.popleft()
        if self._path_topic.get_subscription_count():
            self._path_topic.publish(Path(header=result.pose.header, poses=list(path)))

    def start_repeating(self, parameters: Parameters) -> None:
        """Publish the last transform periodically, if the parameters ask for it.

        The timer uses the node's time, so nothing is published while a simulation is paused.
        """
        self.stop_repeating()
        if parameters.odom_frame and parameters.publish_tf and parameters.transform_rate > 0:
            period = 1 / parameters.transform_rate
            self._repeat_timer = self._node.create_timer(period, lambda: self._repeat_transform(parameters))

    def stop_repeating(self) -> None:
        if self._repeat_timer is not None:
            self._node.destroy_timer(self._repeat_timer)
            self._repeat_timer = None

    def _repeat_transform(self, parameters: Parameters) -> None:
        """Publish the last transform again, stamped now, until it is too old. Once only if the clock stands.

        Image stamps from another clock (a bag without use_sim_time) are far from now: they are not repeated.
        """
        held, now = self._held, self._node.get_clock().now().nanoseconds
        if held is None or self._broadcaster is None:
            return
        last, image_stamp = held
        if not 0 <= now - image_stamp <= parameters.transform_hold * 1e9 or now <= self._repeated:
            return
        self._repeated = now
        repeated = TransformStamped(child_frame_id=last.child_frame_id, transform=last.transform)
        repeated.header.frame_id = last.header.frame_id
        repeated.header.stamp = stamp_from(now + round(parameters.tolerance * 1e9))
        self._send(self._broadcaster, repeated)

    def _send(self, broadcaster: TransformBroadcaster, transform: TransformStamped) -> None:
        self._own.sent(transform)
        broadcaster.sendTransform(transform)

    def publish_pictures(self, result: Result, job: Job, localizer: Localizing, map_frame: str) -> None:
        """Takes tens of milliseconds if someone subscribes, so call it after everything else is published."""
        stamp = job.message.header.stamp
        if self._inliers.get_subscription_count():
            inliers = PointCloud(result.localization.inlier_points.astype(np.float32))
            self._inliers.publish(cloud_message(inliers, Header(frame_id=map_frame, stamp=stamp)))
        if self._debug_image.get_subscription_count():
            from diff2i2p_core.reports.overlay import live_picture

            image, camera = job.camera.rectify(result.image), job.camera.undistorted()
            points, spacing = localizer.map.cloud.points, localizer.map.spacing
            picture = live_picture(result.localization, image, camera, points, spacing)
            header = Header(frame_id=job.camera_frame, stamp=stamp)
            self._debug_image.publish(rgb_message(picture, header))

    def publish_map(self, localizer: Localizing, map_frame: str) -> None:
        header = Header(frame_id=map_frame, stamp=self._node.get_clock().now().to_msg())
        self._map.publish(cloud_message(localizer.map.cloud, header))

    def _create(self, kind: type, topic: str, qos: QoSProfile) -> Publisher:
        return self._node.create_publisher(kind, topic, qos, qos_overriding_options=OVERRIDABLE)
