"""`diff2i2p map grid`: what it writes, prints and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from in_process import Command

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.mapping.map_file import MapInfo, PointMap, save_map


@pytest.fixture
def room_map(room_cloud: PointCloud, tmp_path: Path) -> Path:
    info = MapInfo("a room", "none", "", "mono", "none", SubmapSettings())
    save_map(PointMap(info, room_cloud, np.empty((0, 4, 4)), []), tmp_path / "room.map")
    return tmp_path / "room.map"


def test_a_grid(command: Command, room_map: Path) -> None:
    plans = room_map.parent / "plans"
    done = command("map", "grid", room_map, "-o", plans / "room", "--floor", "0", "--resolution", "0.1")
    assert done.status == 0, done.err
    assert done.out.startswith(f"{plans}/room.yaml: 43 x 53 cells of 10 cm, floor at z = 0.00 m, ")
    assert "resolution: 0.1\n" in (plans / "room.yaml").read_text()
    assert (plans / "room.pgm").read_bytes().startswith(b"P5\n43 53\n255\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--band", "2,1"), "--band '2,1': expected LOW,HIGH in metres"),
        (
            ("--floor", "9"),
            "room.map: the map has no points 0.1 to 1.5 m above a floor at z = 9.00; give another --b",
        ),
        ((), "room.map: no floor is below its views; give --floor"),
    ],
)
def test_what_cannot_be_cut_is_named(
    command: Command, room_map: Path, options: tuple[str, ...], words: str
) -> None:
    done = command("map", "grid", room_map, "-o", room_map.parent / "room", *options)
    assert done.status == 2 and words in done.err
    assert not (room_map.parent / "room.yaml").exists()
