"""Selects the topics of a bag that become posed frames."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from diff2i2p_core.datasets.sources import SourceOptions
from diff2i2p_core.messages.bag_reader import Bag, depth_images, image_topic, pick
from diff2i2p_core.messages.kinds import CAMERA_INFO, CLOUD, IMAGES, POSES


class BagTopics(SourceOptions):
    """The topics of a bag to use. None: the only topic of that kind.

    By default, depth is the only depth image, else the only cloud, and the calibration is the one beside the
    image. Poses are those of the camera, or of the child_frame_id in the messages.
    """

    image: str | None = None
    """Topic of the images, raw or compressed."""
    depth: str | None = None
    """Topic of depth images or of clouds."""
    camera_info: str | None = None
    """Topic of the images' calibration."""
    pose: str | None = None
    """Topic of poses or odometry, used instead of /tf."""
    world: str | None = None
    """Frame of the map; by default the root of the camera's TF tree."""
    every: int = Field(default=1, ge=1)
    """Take every n-th image."""
    apart: float = Field(default=0.02, ge=0)
    """Maximum seconds between an image and its depth."""

    def choose(self, bag: Bag) -> ChosenTopics:
        """The topics of this bag. InputError if one is missing, or if several are possible."""
        if self.pose:
            pick(bag, "pose", self.pose, set(bag.topics(POSES)))
        if self.camera_info:
            infos = set(bag.topics((CAMERA_INFO,)))
            pick(bag, "camera_info", self.camera_info, infos)
        image = image_topic(bag, self.image)
        clouds = set(bag.topics((CLOUD,)))
        candidates = {*bag.topics(IMAGES), *clouds} if self.depth else depth_images(bag) or clouds
        depth = pick(bag, "depth image or cloud", self.depth, candidates)
        return ChosenTopics(image, depth, depth in clouds, self.pose)


@dataclass(frozen=True)
class ChosenTopics:
    """Topics that exist in the bag."""

    image: str
    depth: str
    depth_is_cloud: bool
    pose: str | None
