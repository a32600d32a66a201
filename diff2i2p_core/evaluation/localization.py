"""Localize every image of a posed RGB-D folder in a map of posed RGB-D frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.localization.settings import TrackerSettings
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.mapping.build import map_from_views, model_for_map, read_source
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.typing import Progress

if TYPE_CHECKING:
    from diff2i2p_core.localization.localizer import Localizer
    from diff2i2p_core.models.diff2i2p import Diff2I2P

RATE = 30.0
"""Frame numbers a second, for the stamps of frames that carry none."""


def map_of_frames(
    folder: Path | str,
    numbers: list[int],
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[Diff2I2P, PointMap]:
    """The network and a map, in memory, of the frames `numbers` of a posed RGB-D folder."""
    model, info = model_for_map(weights, str(folder), device)
    source = read_source(folder, numbers=numbers, progress=progress)
    return model, map_from_views(source.cloud, source.submap_views, model, info, progress)


def in_range(frames: PosedFrames, text: str, option: str) -> list[int]:
    """The folder's frame numbers within `A:B`; either end may be left out."""
    try:
        first, last = (int(word) if word else None for word in text.split(":"))
    except ValueError:
        raise InputError(f"{option} '{text}': expected A:B with frame numbers, as in 0:598 or 600:") from None
    chosen = [n for n in frames.numbers if (first is None or n >= first) and (last is None or n <= last)]
    if not chosen:
        raise InputError(
            f"{option} '{text}': {frames.folder} has no frame there, it has {frames.numbers[0]} to "
            f"{frames.numbers[-1]}; choose another range"
        )
    return chosen


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
) -> list[QueryResult]:
    """Localize the images `numbers`: each without a prior, or one after the other to `track` the camera.

    `progress` gets the count done.
    """
    tracker = Tracker(localizer, TrackerSettings(use_prior=track))
    index_of = {number: index for index, number in enumerate(frames.numbers)}
    results = []
    for done, number in enumerate(numbers, start=1):
        frame = frames[index_of[number]]
        depth = frames.registered_depth(frame) if localizer.needs_depth else None
        found = tracker.localize(frame.image, frames.camera, round(1e9 * number / RATE), depth=depth)
        results.append(
            QueryResult(
                number=number,
                stamp=number / RATE,
                true_map_from_camera=frame.world_from_camera,
                map_from_camera=found.map_from_camera if found.localized else None,
                reason=found.reason,
                num_inliers=found.num_inliers,
                inlier_ratio=found.inlier_ratio,
                latency_ms=sum(found.latency_ms.values()),
                covariance=found.covariance,
            )
        )
        if progress is not None:
            progress(done)
    return results
