"""Reads the JSON lines of player and listener, and computes the result of each image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.se3 import from_quaternion
from diff2i2p_core.typing import Array

MAP_FRAME = "map"
Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """The first rows about one image; None if there are none."""

    pose: Row | None = None
    """A row of the kind `tf` or `pose`."""
    said: Row | None = None
    """The first diagnostics; later ones also report other things."""

    def result(
        self,
        number: int,
        stamp: int,
        published: int,
        true_map_from_camera: Array | None,
        map_from_camera: Array | None,
        covariance: Array | None = None,
    ) -> QueryResult:
        """The result with this pose. Latency: from publishing the image to receiving its pose."""
        values = {} if self.said is None else self.said["values"]
        reason = ""
        if map_from_camera is None:
            named = values.get("reason", "none")
            words = "no answer from the node" if self.said is None else self.said["message"]
            reason = words if named == "none" else named
        return QueryResult(
            number=number,
            stamp=stamp / 1e9,
            true_map_from_camera=true_map_from_camera,
            map_from_camera=map_from_camera,
            reason=reason,
            num_inliers=int(values["inliers"]) if "inliers" in values else None,
            inlier_ratio=float(values["inlier_ratio"]) if "inlier_ratio" in values else None,
            latency_ms=None if self.pose is None else (self.pose["received"] - published) / 1e6,
            covariance=covariance,
        )


def answers(heard: Iterable[Row], kind: str) -> dict[int, Answer]:
    """Answers by image stamp in nanoseconds. `kind`: that of the rows with the poses in the map."""
    poses: dict[int, Row] = {}
    said: dict[int, Row] = {}
    for row in heard:
        if row["kind"] == kind and row["parent"] == MAP_FRAME:
            poses.setdefault(row["stamp"], row)
        elif row["kind"] == "diagnostics" and "last_stamp" in row["values"]:
            seconds, nanoseconds = row["values"]["last_stamp"].split(".")
            said.setdefault(int(seconds) * 1_000_000_000 + int(nanoseconds), row)
    return {stamp: Answer(poses.get(stamp), said.get(stamp)) for stamp in {*poses, *said}}


def matrix_of(row: Row) -> Array:
    """(4, 4) parent_from_child of a row of the kind `tf` or `pose`."""
    return from_quaternion(row["translation"], row["quaternion"])


def read_rows(path: Path) -> Iterator[Row]:
    """The complete lines of a JSON lines file that may still be written to."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)
