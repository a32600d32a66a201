"""The result of a replay: single results, metrics, and whether the requirements are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diff2i2p_core.evaluation.localize_bag import Replay
from diff2i2p_core.evaluation.replay_metrics import ReplaySummary, aligned, summarize_replay
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.evaluation.replay_truth import Truth
from diff2i2p_core.evaluation.requirements import Verdict
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.map_file import MapInfo, PointMap
from diff2i2p_core.messages.bag_rig import BagImages, BagRig


@dataclass(frozen=True)
class ReplayInput:
    """A bag and a map to replay it in."""

    settings: ReplaySettings
    camera: BagImages
    truth: Truth | None
    map_path: Path
    info: MapInfo


@dataclass(frozen=True)
class ReplayResult:
    """Results of single images are in `replay.results`. `node` is what a live node said about itself."""

    given: ReplayInput
    localizer: Localizer
    """With the map; to match images again for pictures."""
    replay: Replay
    summary: ReplaySummary
    verdicts: Sequence[Verdict]
    """One verdict per requirement."""
    node: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        given: ReplayInput,
        localizer: Localizer,
        replay: Replay,
        node: dict[str, Any] | None = None,
    ) -> ReplayResult:
        """Align the results if the settings ask for it, then compute metrics and check the requirements."""
        if given.settings.align == "se3":
            replay = replace(replay, results=aligned(replay.results))
        summary = summarize_replay(replay.results, replay.begin, replay.end, replay.dropped)
        verdicts = [limit.judge(replay.results, summary) for limit in given.settings.limits]
        return cls(given, localizer, replay, summary, verdicts, node)

    @property
    def point_map(self) -> PointMap:
        return self.localizer.map

    @property
    def passed(self) -> bool:
        """Whether all requirements are met."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def warnings(self) -> list[str]:
        """What of the bag, the map and the truth is left out or doubtful, one line each."""
        truth = self.given.truth
        return [*self.given.camera.notes, *self.point_map.doubts, *(() if truth is None else truth.notes)]

    @property
    def about(self) -> dict[str, str]:
        """Labels and values for the report."""
        settings, camera, info = self.given.settings, self.given.camera, self.given.info
        seconds = self.replay.end - self.replay.begin
        images = "in the bag's time, late ones dropped" if settings.realtime else "all"
        if settings.live:
            images = f"played to the ROS 2 node over DDS, {settings.rate:g} s of the bag per second"
        truth = self.given.truth
        count, joint = len(camera.stamps), ""
        if isinstance(camera, BagRig):
            count = camera.num_images
            several = sum(len(group) > 1 for group in camera.groups)
            apart = f"images at most {settings.sync_tolerance:g} s apart"
            joint = f"{several} of {len(camera.groups)}, of {apart}"
        return {
            "bag": f"{camera.path}, {count} images of {camera.topic}, {seconds:.1f} s",
            "map": f"{self.given.map_path}, {self.point_map.sizes}, of {info.source}",
            "weights": f"{info.weights_name} ({info.weights_id[:12]})",
            "images": images,
            **({"joint answers": joint} if joint else {}),
            "search": (
                "near the last pose, moved on by odometry or motion" if settings.track else "each image alone"
            ),
            "odometry": settings.odom_frame or "none",
            "truth": "none" if truth is None else f"{truth.name}, alignment {settings.align}",
        }

    def as_dict(self) -> dict[str, Any]:
        """The object in result.json, without single frames; JSON types."""
        return {
            **self.summary.as_dict(),
            **({} if self.node is None else {"node": self.node}),
            **({"cameras": self.replay.cameras} if self.replay.cameras else {}),
            "about": self.about,
            "warnings": self.warnings,
            "requirements": [asdict(verdict) for verdict in self.verdicts],
            "passed": self.passed,
        }
