"""Localize every image of a posed RGB-D folder in a map of posed RGB-D frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_rig_frames import CameraResult, localize_rig_frames
from diff2i2p_core.evaluation.summary import Summary, summarize
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.rig_folder import PosedRig, Seen, is_rig_folder
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.settings import LocalizerSettings, TrackerSettings
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.mapping.matchers import Matcher
from diff2i2p_core.typing import Progress

RATE = 30.0
"""Frame numbers a second, for the stamps of frames that carry none."""


@dataclass(frozen=True)
class FramesResult:
    """The results of localizing the images of a folder; `about` are labels and values for a report."""

    frames: PosedFrames | PosedRig
    """The folder of the images."""
    point_map: PointMap
    results: Sequence[QueryResult]
    """With several cameras, poses are those of their body."""
    about: dict[str, str]
    localizer: Localizer | None = None
    """To match images again for pictures."""
    cameras: Mapping[str, CameraResult] = field(default_factory=dict)
    """With several cameras, by name: each of them alone, and what it contributed."""

    @property
    def summary(self) -> Summary:
        return summarize(self.results)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        cameras = {name: result.as_dict() for name, result in self.cameras.items()}
        return {**self.summary.as_dict(), **({"cameras": cameras} if cameras else {})}

    def seen(self, number: int) -> Seen:
        """What query `number` is. Of several cameras, the first that has a frame of this number."""
        frames = self.frames
        if isinstance(frames, PosedRig):
            return frames.first(number)
        frame = frames[frames.numbers.index(number)]
        return RigCamera("camera", frames.camera, np.eye(4)), frame, frames.registered_depth(frame)


def evaluate_frames(
    map_frames: Path | str,
    query_frames: Path | str,
    weights: Path | str | None = None,
    *,
    matcher: Matcher = "auto",
    map_range: str = ":",
    query_range: str = ":",
    limit: int | None = None,
    beside: Sequence[Path | str] = (),
    colors: bool = True,
    track: bool = False,
    align: bool = True,
    depth: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> FramesResult:
    """Build a map from one posed RGB-D folder, and localize images of another (or the same) folder in it.

    If `query_frames` is the folder of several cameras on one body (`io.rig_folder`), the body is localized.

    Args:
        matcher: what images are matched with, see `Localizer.from_frames`.
        map_range: frame numbers that make the map, see `in_range`; `query_range` those to localize.
        limit: maximum number of images, evenly spread.
        beside: folders whose maps are added, see `Localizer.from_frames`.
        colors: whether the maps have colours.
        track: track the camera from image to image; else each image is searched in the whole map.
        align: align poses to the map's colours; without this, the network alone is judged.
        depth: give the localizer the depth of the images, too.
        note: gets a line about frames of a folder that are left out.
    """
    tell = progress or (lambda what, done, total: None)
    mapped = PosedFrames(map_frames, note)
    selected = in_range(mapped, map_range, "`map_range`")
    queries: PosedFrames | PosedRig = mapped
    if Path(query_frames) != Path(map_frames):
        queries = (PosedRig if is_rig_folder(query_frames) else PosedFrames)(query_frames, note)
    numbers = evenly(in_range(queries, query_range, "`query_range`"), limit)
    localizer = Localizer.from_frames(
        mapped,
        selected,
        weights,
        matcher=matcher,
        beside=beside,
        colors=colors,
        device=device,
        settings=LocalizerSettings(align=align),
        progress=progress,
        note=note,
    )
    done = lambda count: tell("localizing", count, len(numbers))  # noqa: E731
    cameras: Mapping[str, CameraResult] = {}
    if isinstance(queries, PosedRig):
        results, cameras = localize_rig_frames(
            localizer, queries, numbers, done, rate=RATE, track=track, depth=depth
        )
    else:
        results = localize_frames(localizer, queries, numbers, done, track=track, depth=depth)
    info = localizer.map.info
    searched = "tracked" if track else "without prior"
    with_depth = depth or localizer.needs_depth
    names = [proposer.name for proposer in localizer.proposers]
    about = {
        "map": f"{map_frames}, {len(selected)} frames, {localizer.map.sizes}",
        "matcher": " then ".join(name for name in names if with_depth or name != "depth"),
        **({"beside it": ", ".join(map(str, beside))} if beside else {}),
        "queries": f"{query_frames}, {len(numbers)} images, {searched}"
        + (", with depth" if with_depth else "")
        + ("" if align else ", not aligned to colours"),
        **({"cameras": f"{', '.join(cameras)}, on one body"} if cameras else {}),
        "weights": f"{info.weights_name} ({info.weights_id[:12]})",
    }
    return FramesResult(queries, localizer.map, results, about, localizer, cameras)


def in_range(frames: PosedFrames | PosedRig, text: str, option: str) -> list[int]:
    """The folder's frame numbers that are in the ranges of `text`, which commas separate.

    A range is `A:B`, which includes both ends, either of which may be left out, or `A:B:STEP` for every
    STEPth number from A on.
    """
    selected = set[int]()
    for part in text.split(","):
        try:
            begin, end, step = _range(part, frames.numbers[0], frames.numbers[-1])
        except ValueError:
            raise InputError(
                f"{option} '{part}': expected A:B or A:B:STEP with frame numbers, such as 0:598 or 600:"
            ) from None
        selected |= {n for n in frames.numbers if begin <= n <= end and (n - begin) % step == 0}
    if not selected:
        raise InputError(
            f"{option} '{text}': {frames.folder} has no such frames; its numbers are {frames.numbers[0]} to "
            f"{frames.numbers[-1]}; choose another range"
        )
    return sorted(selected)


def _range(text: str, first: int, last: int) -> tuple[int, int, int]:
    """Begin, end and step; ValueError if the text has none of the forms."""
    words = text.split(":")
    begin, end = int(words[0] or first), int(words[1] or last) if len(words) > 1 else -1
    step = int(words[2]) if len(words) == 3 else 1
    if len(words) not in (2, 3) or step < 1:
        raise ValueError
    return begin, end, step


def evenly(numbers: list[int], limit: int | None) -> list[int]:
    """At most `limit` of the numbers, evenly spread."""
    if limit is None or limit >= len(numbers):
        return numbers
    return [numbers[i * len(numbers) // limit] for i in range(limit)]


def localize_frames(
    localizer: Localizer,
    frames: PosedFrames,
    numbers: Sequence[int],
    progress: Callable[[int], None] | None = None,
    *,
    track: bool = False,
    depth: bool = False,
) -> list[QueryResult]:
    """Localize the images `numbers`, each without a prior, or tracked from image to image with `track`.

    `depth` gives the localizer the depth of the images, too. `progress` gets the number of images done.
    """
    tracker = Tracker(localizer, TrackerSettings(use_prior=track))
    index_of = {number: index for index, number in enumerate(frames.numbers)}
    results = []
    for done, number in enumerate(numbers, start=1):
        frame = frames[index_of[number]]
        metres = frames.registered_depth(frame) if depth or localizer.needs_depth else None
        answer = tracker.localize(frame.image, frames.camera, round(1e9 * number / RATE), depth=metres)
        results.append(
            QueryResult(
                number=number,
                stamp=number / RATE,
                true_map_from_camera=frame.world_from_camera,
                map_from_camera=answer.map_from_camera if answer.localized else None,
                reason=answer.reason,
                num_inliers=answer.num_inliers,
                inlier_ratio=answer.inlier_ratio,
                latency_ms=sum(answer.latency_ms.values()),
                covariance=answer.covariance,
            )
        )
        if progress is not None:
            progress(done)
    return results
