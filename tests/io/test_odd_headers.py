"""PLY and PCD files as other tools write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.clouds import read_cloud

POINTS = np.array([[0, 1, 2], [0.5, -1.5, 2.5], [3, 4, 5]], np.float32)
COLORS = np.array([[255, 0, 1], [2, 128, 3], [7, 8, 9]], np.uint8)
XYZ = "property float x\nproperty float y\nproperty float z\n"
RGB = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
FACES = np.array([(3, (0, 1, 2)), (3, (2, 1, 0))], [("n", "u1"), ("i", "<i4", (3,))])
FACE = "element face 2\nproperty list uchar int vertex_indices\n"


def check(path: Path) -> None:
    cloud = read_cloud(path)
    np.testing.assert_allclose(cloud.points, POINTS)
    np.testing.assert_array_equal(cloud.colors, COLORS)


def vertices(*more: tuple[str, str, int]) -> bytes:
    """x y z, other columns (name, type, value), red green blue."""
    kinds = [(name, "<f4") for name in "xyz"] + [(name, kind) for name, kind, _ in more]
    table = np.zeros(3, [*kinds, ("red", "u1"), ("green", "u1"), ("blue", "u1")])
    for axis in range(3):
        table["xyz"[axis]], table[("red", "green", "blue")[axis]] = POINTS[:, axis], COLORS[:, axis]
    for name, _, value in more:
        table[name] = value
    return table.tobytes()


def ply(before: str = "", inside: str = "", top: str = "", format_: str = "binary_little_endian") -> bytes:
    header = f"ply\nformat {format_} 1.0\n{top}{before}element vertex 3\n{XYZ}{inside}{RGB}end_header\n"
    return header.encode()


def rows(more: str = "") -> str:
    each = zip(POINTS.tolist(), COLORS.tolist(), strict=True)
    return "\n".join(" ".join(map(str, [*point, *more.split(), *color])) for point, color in each)


ODD_PLY = {
    "name_twice": ply(inside="property float d\nproperty float d\n")
    + vertices(("d", "<f4", 1), ("e", "<f4", 2)),
    "axis_twice": ply(inside="property float x\n") + vertices(("e", "<f4", 9)),
    "upper_case": ply().replace(b"float x", b"float X").replace(b"uchar red", b"uchar Red") + vertices(),
    "lists_alike": ply(inside="property list uchar int view\n") + vertices(("n", "u1", 1), ("v", "<i4", 7)),
    "faces_first": ply(before=FACE) + FACES.tobytes() + vertices(),
    "camera_first": ply(before="element camera 1\nproperty double f\n") + bytes(8) + vertices(),
    "empty_first": ply(before="element face 0\nproperty list uchar int i\n") + vertices(),
    "long_header": ply(top="comment " + "x" * 60 + "\n" + "comment y\n" * 9000) + vertices(),
    "comment": ply(top="comment end_header\ncomment element vertex 9\n") + vertices(),
    "mark": b"\xef\xbb\xbf" + ply() + vertices(),
    "returns": ply().replace(b"\n", b"\r") + vertices(),
    "spaces": ply().replace(b"end_header", b"end_header ") + vertices(),
    "ascii_faces_first": ply(before=FACE, format_="ascii") + f"3 0 1 2\n3 2 1 0\n{rows()}".encode(),
    "ascii_camera_first": ply(before="element camera 1\nproperty float f\n", format_="ascii")
    + f"525\n{rows()}".encode(),
    "ascii_lists": ply(inside="property list uchar int view\n", format_="ascii") + rows("2 4 5").encode(),
    "ascii_mark": b"\xef\xbb\xbf" + ply(format_="ascii").replace(b"\n", b"\r\n") + rows().encode(),
}


@pytest.mark.parametrize("name", ODD_PLY)
def test_odd_ply(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.ply").write_bytes(ODD_PLY[name])
    check(tmp_path / "a.ply")


@pytest.mark.parametrize("order", ["<", ">"])
def test_ply_with_lists_of_different_lengths(tmp_path: Path, order: str) -> None:
    def row(number: int) -> bytes:
        views = np.arange(number, dtype=order + "i4").tobytes()
        point = POINTS[number].astype(order + "f4").tobytes()
        length = np.array(number, order + "u2").tobytes()
        return bytes(point + length + views + COLORS[number].tobytes())

    faces = [np.array([n, *range(n)], np.uint8).tobytes() for n in (3, 4, 0, 5)]
    before = "element face 4\nproperty list uchar uchar i\n"
    kind = "binary_little_endian" if order == "<" else "binary_big_endian"
    header = ply(before=before, inside="property list ushort int view\n", format_=kind)
    whole = header + b"".join(faces) + b"".join(map(row, range(3)))
    (tmp_path / "a.ply").write_bytes(whole)
    check(tmp_path / "a.ply")
    (tmp_path / "a.ply").write_bytes(whole[:-4])
    with pytest.raises(InputError, match="truncated: the header says 3 vertices"):
        read_cloud(tmp_path / "a.ply")


@pytest.mark.parametrize(
    "line", ["property list float int i", "property list uchar", "property quad q", "element"]
)
def test_ply_headers_that_make_no_sense(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.ply").write_bytes(ply(inside=f"{line}\n") + vertices())
    with pytest.raises(InputError, match="header cannot be understood"):
        read_cloud(tmp_path / "a.ply")


def pcd(fields: str = "x y z rgb", kinds: str = "F F F U", sizes: str = "4 4 4 4", more: str = "") -> bytes:
    columns = f"FIELDS {fields}\nSIZE {sizes}\nTYPE {kinds}\n{more}"
    return f"# .PCD v.7\nVERSION .7\n{columns}WIDTH 3\nHEIGHT 1\nPOINTS 3\nDATA ascii\n".encode()


PACKED = COLORS.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def pcd_rows(values: list[object], more: str = "") -> bytes:
    each = zip(POINTS.tolist(), values, strict=True)
    return "\n".join(" ".join(map(str, [*point, *more.split(), value])) for point, value in each).encode()


AS_FLOATS = [repr(float(value)) for value in PACKED.astype(np.uint32).view(np.float32)]
WITH_ALPHA = [int(value) | 0xFF000000 for value in PACKED]
ODD_PCD = {
    "columns": pcd().replace(b"FIELDS", b"COLUMNS").replace(b"v.7", b"v.5") + pcd_rows([*PACKED]),
    "integers_of_type_f": pcd(kinds="F F F F") + pcd_rows(WITH_ALPHA),  # type: ignore[arg-type]
    "size_8": pcd(kinds="F F F F", sizes="8 8 8 8") + pcd_rows(AS_FLOATS),  # type: ignore[arg-type]
    "bytes": pcd("x y z rgb", "F F F U", "4 4 4 1", "COUNT 1 1 1 3\n")
    + pcd_rows([" ".join(map(str, color)) for color in COLORS]),
    "three_fields": pcd("x y z r g b", "F F F U U U", "4 4 4 1 1 1")
    + pcd_rows([" ".join(map(str, color)) for color in COLORS]),
    "name_twice": pcd("x y z d d rgb", "F F F F F U", "4 4 4 4 4 4") + pcd_rows([*PACKED], "1 2"),
    "mark": b"\xef\xbb\xbf"
    + pcd().replace(b"# .PCD v.7\n", b"").replace(b"VERSION .7\n", b"")
    + pcd_rows([*PACKED]),
    "oldest": pcd().replace(b"SIZE 4 4 4 4\nTYPE F F F U\n", b"").replace(b"HEIGHT 1\nPOINTS 3\n", b"")
    + pcd_rows([*PACKED]),
    "case": pcd().replace(b"FIELDS x y z", b"fields X Y Z").replace(b"DATA ascii", b"data ASCII")
    + pcd_rows([*PACKED]),
}


@pytest.mark.parametrize("name", ODD_PCD)
def test_odd_pcd(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.pcd").write_bytes(ODD_PCD[name])
    check(tmp_path / "a.pcd")


@pytest.mark.parametrize(
    "word", ["nan", "-nan", "1.#QNAN", "-1.#IND00", "1.#INF", "nan(ind)", "-nan(ind)", "inf"]
)
def test_words_of_no_number(tmp_path: Path, word: str) -> None:
    notes: list[str] = []
    (tmp_path / "a.pcd").write_bytes(pcd() + pcd_rows([*PACKED]).replace(b"3.0 4.0", f"3.0 {word}".encode()))
    assert len(read_cloud(tmp_path / "a.pcd", notes.append)) == 2
    (tmp_path / "a.ply").write_bytes(ply(format_="ascii") + rows().replace("3.0 4.0", f"3.0 {word}").encode())
    assert len(read_cloud(tmp_path / "a.ply", notes.append)) == 2
    assert [note.partition(": ")[2] for note in notes] == ["1 point is NaN or infinite and is left out"] * 2
