"""How a bag is replayed in a map, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.replay_truth import TruthSource
from diff2i2p_core.evaluation.requirements import Requirement
from diff2i2p_core.mapping.matchers import Matcher


@dataclass(frozen=True)
class ReplaySettings:
    """Topics that are None are the only ones of their kind in the bag. InputError if settings contradict."""

    image_topic: str | None = None
    """Raw or compressed."""
    camera_info_topic: str | None = None
    """None: the one beside the images."""
    depth_topic: str | None = None
    """Depth registered to the images, for weights of the rgbd mode."""
    camera_frame: str | None = None
    """The camera's optical frame; None: the images' frame_id."""
    odom_frame: str | None = None
    """Odometry's frame in TF; None: there is no odometry."""
    base_frame: str | None = None
    """The robot's frame, which the written trajectory is of; None: the camera's."""
    rectified: bool = False
    """Whether the images are without lens distortion already."""
    truth: TruthSource = field(default_factory=TruthSource)
    align: Literal["none", "se3"] = "none"
    """se3 moves the truth onto the estimates, to inspect a truth of another frame."""
    track: bool = True
    """Search near the last pose first, or never."""
    realtime: bool = False
    """Drop images that come while others are worked on, as a node does."""
    live: bool = False
    """Through the ROS 2 node, over DDS, in the bag's time."""
    rate: float = 1.0
    """Of a live replay: seconds of the bag in a second."""
    requirements: tuple[str, ...] = ()
    """Limits to pass, as `recall@0.25m/10deg>=0.5`, `false==0`, `ate<=0.1`."""
    matcher: Matcher = "auto"
    """What images are matched with, of what the map has features for."""
    weights: Path | str | None = None
    """None: the installed ones that the map was made with."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.live and self.realtime:
            raise InputError("`realtime`: `live` is in the bag's time anyway; leave one of them out")
        if self.rate != 1 and not self.live:
            raise InputError("`rate`: is for `live`; without it the bag is worked on as fast as it goes")
        if not self.rate > 0:
            raise InputError(f"`rate` {self.rate}: give seconds of the bag in a second, more than 0")
        if self.align != "none" and self.truth.is_empty:
            raise InputError("`align`: there is no truth to move; give `truth`")
        for requirement in self.limits:
            if requirement.needs_truth and self.truth.is_empty:
                raise InputError(f"`requirement` '{requirement.text}': needs the truth; give `truth`")
            if requirement.needs_truth and self.align != "none":
                raise InputError(
                    f"`requirement` '{requirement.text}': is judged in the map's frame; leave `align` out"
                )

    @property
    def limits(self) -> list[Requirement]:
        """The requirements, parsed."""
        return [Requirement.parse(text) for text in self.requirements]
