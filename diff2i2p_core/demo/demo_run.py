"""The demo: plays images of a sample to the node over local DDS, and reads the poses in another process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from diff2i2p_core.demo.heard import Answer, Row, answers, matrix_of
from diff2i2p_core.demo.node_process import PLAYED, check_ros, module, node_command, play
from diff2i2p_core.demo.sample import Sample, embedded_sample, folder_sample
from diff2i2p_core.evaluation.localize_frames import FramesResult
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.io.files import check_output_folder
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.map_file import PointMap, save_map
from diff2i2p_core.reports.localization_files import FILES, write_results
from diff2i2p_core.typing import Progress


def run_demo(
    out: Path | str,
    data: Path | str | None = None,
    *,
    map_until: int | None = None,
    weights: Path | str | None = None,
    limit: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> FramesResult:
    """Start the ROS 2 node with a map of the sample, play images to it over DDS, compare /tf with the truth.

    The files of `write_results`, the map and the logs are written to the folder `out`.

    Args:
        data: a posed RGB-D folder. Its frames up to `map_until` (default: three quarters) make the map. None:
        a
            synthetic room.
        limit: maximum number of images, evenly spread.
        say: gets lines about each step.

    Raises:
        InputError: ROS 2 is missing, or one of its processes failed; `out` is `data` or cannot be written.
    """
    out = Path(out)
    check_ros()
    check_output_folder(out, [data], ("demo.map", *FILES))
    sample = _sample(out, data, map_until, say).limited(limit)
    say(
        f"    {sample.name}: {len(sample.map_numbers)} frames make the map, "
        f"{len(sample.query_numbers)} images are localized in it"
    )
    say("2/4 building the map ...")
    localizer = Localizer.from_frames(sample.frames, sample.map_numbers, weights, progress=progress)
    point_map = localizer.map
    save_map(point_map, out / "demo.map")
    weights_name = point_map.info.weights_name
    say(f"    {point_map.sizes}, {len(point_map.cloud)} points, weights {weights_name}")
    say("3/4 starting the ROS 2 node; playing the images to it over DDS ...")
    heard = localize_over_ros(sample, out / "demo.map", out / "log", weights=weights, progress=progress)
    say("4/4 comparing the poses read from /tf with the truth ...")
    result = FramesResult(sample.frames, point_map, heard, _about(sample, point_map), localizer)
    write_results(out, "Diff2I2P localization demo", result)
    return result


def _sample(out: Path, data: Path | str | None, map_until: int | None, say: Callable[[str], None]) -> Sample:
    if data is None:
        say("1/4 rendering the sample: a synthetic room ...")
        return embedded_sample(out / "sample")
    say(f"1/4 reading {data} ...")
    return folder_sample(data, map_until)


def _about(sample: Sample, point_map: PointMap) -> dict[str, str]:
    info, queries = point_map.info, sample.query_numbers
    return {
        "sample": sample.name,
        "map": f"{len(sample.map_numbers)} frames up to {sample.map_numbers[-1]}, {point_map.sizes}",
        "images": f"{len(queries)} from frame {queries[0]} on, played to the node one by one",
        "poses": "read from /tf by another process; the node may use its last pose as a prior",
        "latency": "from publishing an image to receiving its transform, over DDS",
        "weights": f"{info.weights_name} ({info.weights_id[:12]})",
    }


def localize_over_ros(
    sample: Sample,
    map_path: Path,
    log_folder: Path,
    *,
    weights: Path | str | None = None,
    progress: Progress | None = None,
) -> list[QueryResult]:
    """Play the sample's queries to the node, and return the poses from /tf.

    InputError with the last log lines if a process fails.
    """
    player = module(
        "demo_player",
        str(sample.frames.folder),
        str(log_folder / PLAYED),
        *("--numbers", ",".join(map(str, sample.query_numbers))),
        *("--rate", str(sample.rate), "--start", str(int(time.time()))),
    )
    node, count = node_command(map_path, weights, {}, {}), len(sample.query_numbers)
    tell = progress or (lambda what, done, total: None)
    tell("waiting for the node", 0, None)
    return results(sample, *play(node, player, log_folder, count, lambda done: tell("image", done, count)))


def results(sample: Sample, played: Sequence[Row], heard: Sequence[Row]) -> list[QueryResult]:
    """Each played image with its true pose and the answer."""
    answer_of = answers(heard, "tf")
    made = []
    for row in played:
        answer = answer_of.get(row["stamp"], Answer())
        pose = None if answer.pose is None else matrix_of(answer.pose)
        true = sample.frames.pose(row["number"])
        made.append(answer.result(row["number"], row["stamp"], row["published"], true, pose))
    return made
