"""Settings for replaying a bag in a map, and requirements on the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.replay_truth import TruthSource
from diff2i2p_core.evaluation.requirements import Requirement
from diff2i2p_core.mapping.matchers import Matcher

SYNC_TOLERANCE = 0.02
"""Seconds; a robot moves little meanwhile, and odometry corrects for that."""


@dataclass(frozen=True)
class ReplaySettings:
    """A topic can be None if it is the only one of its kind. InputError if settings contradict each other."""

    image_topic: str | Sequence[str] | None = None
    """Raw or compressed. Several: of cameras on one body, at most one of each; TF says how they are mounted,
    and the others of their topics and frames are found by the images."""
    sync_tolerance: float = SYNC_TOLERANCE
    """With several cameras: images at most this many seconds apart give one joint answer."""
    camera_info_topic: str | None = None
    """None: the one beside the images."""
    depth_topic: str | None = None
    """Depth registered to the images, for maps of all kinds. None: only if matcher or weights need it."""
    camera_frame: str | None = None
    """The camera's optical frame; None: the images' frame_id."""
    odom_frame: str | None = None
    """The odometry frame in TF; None: no odometry."""
    base_frame: str | None = None
    """The robot's frame, used for the written trajectory, and the body that several cameras are mounted on;
    None: the (first) camera's."""
    rectified: bool = False
    """Whether the images are already rectified."""
    truth: TruthSource = field(default_factory=TruthSource)
    align: Literal["none", "se3"] = "none"
    """se3: align the truth with the estimates first, for a truth in another frame."""
    track: bool = True
    """Whether to search near the last pose first."""
    realtime: bool = False
    """Drop images that arrive while others are processed, as a node does."""
    live: bool = False
    """Use the ROS 2 node, over DDS, in the bag's time."""
    rate: float = 1.0
    """For a live replay: seconds of the bag per second."""
    requirements: tuple[str, ...] = ()
    """Limits to meet, such as `recall@0.25m/10deg>=0.5`, `false==0`, `ate<=0.1`."""
    matcher: Matcher = "auto"
    """What images are matched with, of what the map has features for."""
    weights: Path | str | None = None
    """None: the installed weights that the map was built with."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._check_cameras()
        if self.live and self.realtime:
            raise InputError("`realtime`: `live` is always in the bag's time; leave one of them out")
        if self.rate != 1 and not self.live:
            raise InputError(
                "`rate`: is only for `live`; without it, the bag is processed as fast as possible"
            )
        if not self.rate > 0:
            raise InputError(f"`rate` {self.rate}: give seconds of the bag per second, more than 0")
        if self.align != "none" and self.truth.is_empty:
            raise InputError("`align`: there is no truth to align; give `truth`")
        for requirement in self.limits:
            if requirement.needs_truth and self.truth.is_empty:
                raise InputError(f"`requirement` '{requirement.text}': needs the truth; give `truth`")
            if requirement.needs_truth and self.align != "none":
                raise InputError(
                    f"`requirement` '{requirement.text}': is judged in the map's frame; leave `align` out"
                )

    @property
    def uses_depth(self) -> bool:
        """Whether depth is used with any weights."""
        return self.depth_topic is not None or self.matcher == "depth"

    @property
    def image_topics(self) -> list[str]:
        """Those given."""
        topics = self.image_topic
        return [] if topics is None else [topics] if isinstance(topics, str) else list(topics)

    def _check_cameras(self) -> None:
        topics = self.image_topics
        if len(set(topics)) < len(topics):
            raise InputError("`image`: the same topic twice; name each camera once")
        if self.sync_tolerance < 0:
            raise InputError(f"`sync_tolerance` {self.sync_tolerance:g}: give seconds, 0 or more")
        for name in ("camera_info", "depth", "camera"):
            value = self.camera_frame if name == "camera" else getattr(self, f"{name}_topic")
            if len(topics) > 1 and value is not None:
                raise InputError(f"`{name}`: is for a single camera; with several, it is found by each image")

    @property
    def limits(self) -> list[Requirement]:
        """The requirements, parsed."""
        return [Requirement.parse(text) for text in self.requirements]
