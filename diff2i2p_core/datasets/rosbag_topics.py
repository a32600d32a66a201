"""Which topics of a bag become posed frames."""

from __future__ import annotations

from dataclasses import dataclass

from diff2i2p_core.messages.bag_reader import Bag, depth_images, image_topic, pick
from diff2i2p_core.messages.kinds import CAMERA_INFO, CLOUD, IMAGES, POSES


@dataclass(frozen=True)
class BagTopics:
    """What of a bag is used; None: the only topic of that kind."""

    image: str | None = None
    depth: str | None = None
    """A depth image, or a PointCloud2; by default the only depth image, else the only cloud."""
    camera_info: str | None = None
    """Of the image; by default the one beside it."""
    pose: str | None = None
    """Poses that go before /tf: of the camera, or of the child_frame_id that the messages name."""
    world: str | None = None
    """Frame of the poses; the camera's topmost by default."""
    every: int = 1
    """Take every so many images."""
    apart: float = 0.02
    """Seconds that an image and its depth may be apart."""

    def chosen(self, bag: Bag) -> ChosenTopics:
        """Those of the bag; InputError where a name is missing or more than one would do."""
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
    """Topics that are in the bag."""

    image: str
    depth: str
    depth_is_cloud: bool
    pose: str | None
