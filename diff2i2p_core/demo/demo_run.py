"""The demo's images through the node over DDS of this host, and what another process hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from diff2i2p_core.demo.heard import Answer, Row, answers, matrix_of
from diff2i2p_core.demo.node_process import PLAYED, module, node_command, play
from diff2i2p_core.demo.sample import Sample
from diff2i2p_core.evaluation.trajectory import QueryResult


def localize_over_ros(
    sample: Sample,
    map_path: Path,
    log_folder: Path,
    *,
    weights: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[QueryResult]:
    """Play the sample's queries to the node and return what came back on /tf. `progress` gets the count done.

    InputError with the last log lines if one of the processes fails.
    """
    player = module(
        "demo_player",
        str(sample.frames.folder),
        str(log_folder / PLAYED),
        *("--numbers", ",".join(map(str, sample.query_numbers))),
        *("--rate", str(sample.rate), "--start", str(int(time.time()))),
    )
    node = node_command(map_path, weights, {}, {})
    return results(sample, *play(node, player, log_folder, len(sample.query_numbers), progress))


def results(sample: Sample, played: Sequence[Row], heard: Sequence[Row]) -> list[QueryResult]:
    """Each played image with truth and answer."""
    answer_of = answers(heard, "tf")
    made = []
    for row in played:
        answer = answer_of.get(row["stamp"], Answer())
        pose = None if answer.pose is None else matrix_of(answer.pose)
        true = sample.frames.pose(row["number"])
        made.append(answer.result(row["number"], row["stamp"], row["published"], true, pose))
    return made
