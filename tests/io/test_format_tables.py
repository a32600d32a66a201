"""The tables of the user guide say what the code reads and refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.clouds import SUFFIXES, read_cloud, read_cloud_at
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.point_attributes import (
    COLOR_NAMES,
    INTENSITY_NAMES,
    PACKED_NAMES,
    SPLAT_NAMES,
    plain_name,
)
from diff2i2p_core.mapping.units import check_metres

GUIDE = Path(__file__).resolve().parents[2] / "docs/user_guide.md"
POINTS = np.random.default_rng(0).uniform(-2, 2, (500, 3)).astype(np.float32)


def section() -> str:
    return GUIDE.read_text(encoding="utf-8").split("### Cloud files")[1].split("\n### ")[0]


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first heading is this."""
    lines = section().split(f"\n| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_format_is_in_the_table() -> None:
    listed = [suffix for row in table("file") for suffix in code(row[0])]
    assert sorted(listed) == sorted(SUFFIXES)


def test_every_name_of_a_field_is_in_the_table() -> None:
    rows = {row[0]: code(row[1]) for row in table("values")}
    words = rows["colours, first match"]
    prefixes = [word for word in words if word.endswith("_")]
    assert prefixes == ["diffuse_", "vertex_", "color_", "colour_"]
    full, short, floats = ("red", "green", "blue"), ("r", "g", "b"), ("rf", "gf", "bf")
    assert [word for word in words if word not in prefixes] == [*full, *short, *floats]
    after = {
        "": (full, short, floats),
        "diffuse_": (full,),
        "vertex_": (full,),
        "color_": (short,),
        "colour_": (short,),
    }
    wanted = {tuple(prefix + name for name in names) for prefix, kinds in after.items() for names in kinds}
    assert wanted == set(COLOR_NAMES)
    assert rows["colours in one field"] == list(PACKED_NAMES)
    assert rows["colours of Gaussian splats"] == list(SPLAT_NAMES)
    assert rows["intensity, first match"] == list(dict.fromkeys(map(plain_name, INTENSITY_NAMES)))


def ply(path: Path, points: np.ndarray, change: tuple[bytes, bytes] = (b"", b"")) -> PointCloud:
    write_ply(path, PointCloud(points))
    path.write_bytes(path.read_bytes().replace(*change) if change[0] else path.read_bytes())
    return read_cloud(path)


def text(path: Path, words: str) -> PointCloud:
    path.write_text(words)
    return read_cloud(path)


def far(path: Path) -> object:
    np.save(path, POINTS + np.array([4e6, 0, 0], np.float32))
    return read_cloud_at(path, "auto")


REFUSED: dict[str, Callable[[Path], object]] = {
    "unknown kind of cloud": lambda folder: text(folder / "a.dwg", "0 0 0"),
    "truncated": lambda folder: ply(folder / "a.ply", POINTS, (b"vertex 500", b"vertex 501")),
    "header cannot be understood": lambda folder: ply(folder / "a.ply", POINTS, (b"float x", b"quad x")),
    "not a row of numbers": lambda folder: text(folder / "a.xyz", "1 2 three\n"),
    "have no x, y, z": lambda folder: ply(folder / "a.ply", POINTS, (b"float x", b"float u")),
    "points are NaN or infinite": lambda folder: ply(folder / "a.ply", POINTS * np.float32(np.nan)),
    "too far for a map in metres": lambda folder: ply(folder / "a.ply", POINTS + np.float32(60_000)),
    "coordinates are rounded to": lambda folder: far(folder / "a.npy"),
    "too much for a map in metres": lambda folder: ply(folder / "a.ply", POINTS * 30_000),
    "it is not in metres": lambda folder: check_metres(POINTS * 1000, "it"),
    "give a denser cloud": lambda folder: check_metres(POINTS[:200] * 4, "it"),
}


def test_every_refusal_of_the_table_is_tested() -> None:
    assert [code(row[0])[0] for row in table("message")] == list(REFUSED)


@pytest.mark.parametrize("words", REFUSED)
def test_refusals(tmp_path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words):
        REFUSED[words](tmp_path)
