from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.clouds import read_cloud
from diff2i2p_core.io.ply import write_ply

POINTS = np.array([[0, 1, 2], [0.5, -1.5, 2.5], [3, 4, 5]], np.float32)
COLORS = np.array([[255, 0, 1], [2, 128, 3], [7, 8, 9]], np.uint8)


def check(path: Path, colored: bool = True) -> None:
    cloud = read_cloud(path)
    np.testing.assert_allclose(cloud.points, POINTS, atol=1e-3)
    assert cloud.points.dtype == np.float32
    if colored:
        assert cloud.colors is not None
        np.testing.assert_array_equal(cloud.colors, COLORS)
    else:
        assert cloud.colors is None


def test_ply_written_and_read(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", PointCloud(POINTS, COLORS))
    check(tmp_path / "a.ply")
    write_ply(tmp_path / "b.ply", PointCloud(POINTS))
    check(tmp_path / "b.ply", colored=False)


def test_ply_ascii_with_faces_and_comments(tmp_path: Path) -> None:
    rows = "\n".join(
        f"{p[0]} {p[1]} {p[2]} 0.5 {c[0]} {c[1]} {c[2]}" for p, c in zip(POINTS, COLORS, strict=True)
    )
    (tmp_path / "a.ply").write_text(
        "ply\nformat ascii 1.0\ncomment made by hand\nelement vertex 3\nproperty float x\nproperty float y\n"
        "property float z\nproperty float quality\nproperty uchar red\nproperty uchar green\n"
        "property uchar blue\nelement face 1\nproperty list uchar int vertex_indices\n"
        f"end_header\n{rows}\n3 0 1 2\n"
    )
    check(tmp_path / "a.ply")


def test_ply_big_endian_doubles(tmp_path: Path) -> None:
    vertices = np.zeros(3, [("x", ">f8"), ("y", ">f8"), ("z", ">f8"), ("r", "u1"), ("g", "u1"), ("b", "u1")])
    for k in range(3):
        vertices["xyz"[k]], vertices["rgb"[k]] = POINTS[:, k], COLORS[:, k]
    header = "ply\nformat binary_big_endian 1.0\nelement vertex 3\n" + "".join(
        f"property {kind} {name}\n"
        for name, kind in zip("xyzrgb", ["double"] * 3 + ["uchar"] * 3, strict=True)
    )
    (tmp_path / "a.ply").write_bytes((header + "end_header\n").encode() + vertices.tobytes())
    check(tmp_path / "a.ply")


def pcd_header(data: str, count: int = 3) -> bytes:
    return (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
        f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {data}\n"
    ).encode()


def pcd_columns() -> tuple[np.ndarray, ...]:
    packed = COLORS.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return (*POINTS.T, packed.astype("<u4").view("<f4"))


def test_pcd_binary(tmp_path: Path) -> None:
    (tmp_path / "a.pcd").write_bytes(
        pcd_header("binary") + np.stack(pcd_columns(), axis=1).astype("<f4").tobytes()
    )
    check(tmp_path / "a.pcd")


def test_pcd_ascii(tmp_path: Path) -> None:
    rows = "\n".join(" ".join(str(v) for v in p) for p in POINTS)
    header = pcd_header("ascii").replace(b" rgb\n", b"\n").replace(b" 4 4 4 4", b" 4 4 4")
    header = header.replace(b"F F F F", b"F F F").replace(b"1 1 1 1", b"1 1 1")
    (tmp_path / "a.pcd").write_bytes(header + rows.encode())
    check(tmp_path / "a.pcd", colored=False)


def test_pcd_compressed(tmp_path: Path) -> None:
    plain = b"".join(np.ascontiguousarray(column, "<f4").tobytes() for column in pcd_columns())
    runs = b"".join(bytes([len(plain[i : i + 32]) - 1]) + plain[i : i + 32] for i in range(0, len(plain), 32))
    body = struct.pack("<II", len(runs), len(plain)) + runs
    (tmp_path / "a.pcd").write_bytes(pcd_header("binary_compressed") + body)
    check(tmp_path / "a.pcd")


def test_lzf_copies_that_overlap() -> None:
    from diff2i2p_core.io.pcd import _lzf_decompress

    # literal "ab", then a copy of 9 (7 + 0 + 2) bytes from 2 back, then a copy of 3 from 11 back
    assert (
        _lzf_decompress(bytes([1]) + b"ab" + bytes([0xE0, 0, 1, 0x20, 10]), 14)
        == b"ab" + b"ababababa" + b"aba"
    )


def test_real_compressed_pcd(tmp_path: Path) -> None:
    pypcd4 = pytest.importorskip("pypcd4")
    rng = np.random.default_rng(0)
    points = np.round(rng.uniform(-3, 3, (5000, 3)), 1).astype(
        np.float32
    )  # repeats: the compressor finds copies
    pypcd4.PointCloud.from_xyz_points(points).save(
        tmp_path / "a.pcd", encoding=pypcd4.Encoding.BINARY_COMPRESSED
    )
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.pcd").points, points)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_las(tmp_path: Path, suffix: str) -> None:
    laspy = pytest.importorskip("laspy")
    las = laspy.create(point_format=2, file_version="1.2")
    las.header.scales = [0.001] * 3
    las.xyz = POINTS
    las.red, las.green, las.blue = (COLORS.astype(np.uint16) * 257).T
    las.write(str(tmp_path / f"a{suffix}"))
    check(tmp_path / f"a{suffix}")
    notes: list[str] = []
    las.red[:], las.green[:], las.blue[:] = 0, 0, 0
    las.write(str(tmp_path / f"a{suffix}"))
    assert read_cloud(tmp_path / f"a{suffix}", notes.append).colors is None
    assert notes == [f"{tmp_path / f'a{suffix}'}: its colours are all the same and are left out"]


@pytest.mark.parametrize("suffix", [".glb", ".npz"])
def test_one_colour_and_one_intensity_are_left_out_and_said(tmp_path: Path, suffix: str) -> None:
    path, notes = tmp_path / f"a{suffix}", list[str]()
    if suffix == ".glb":
        trimesh = pytest.importorskip("trimesh")
        box = trimesh.creation.box((1, 2, 3))
        box.visual.vertex_colors = np.tile([10, 200, 30, 255], (8, 1))
        box.export(str(path))
    else:
        np.savez(path, points=POINTS, colors=np.full_like(COLORS, 9), intensity=np.full(len(POINTS), 0.5))
    cloud = read_cloud(path, notes.append)
    assert cloud.colors is None and cloud.intensity is None
    assert f"{path}: its colours are all the same and are left out" in notes
    assert suffix == ".glb" or f"{path}: its intensity is the same at all points and is left out" in notes


def test_numpy(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=POINTS, colors=COLORS / 255.0)
    check(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", points=POINTS, rgb=COLORS, other=np.arange(7))
    check(tmp_path / "a.npz")
    notes: list[str] = []
    np.savez(tmp_path / "a.npz", points=POINTS, colour=COLORS)
    assert read_cloud(tmp_path / "a.npz", notes.append).colors is None
    assert notes == [
        f"{tmp_path / 'a.npz'}: its fields colour are not understood as colours and are left out"
    ]
    np.save(tmp_path / "a.npy", POINTS.astype(np.float64))
    check(tmp_path / "a.npy", colored=False)


def test_points_that_are_not_finite_are_dropped_and_counted(tmp_path: Path) -> None:
    points = np.vstack([POINTS, [[np.nan, 0, 0], [0, np.inf, 0]]]).astype(np.float32)
    write_ply(tmp_path / "a.ply", PointCloud(points, np.vstack([COLORS, COLORS[:2]])))
    check(tmp_path / "a.ply")
    notes: list[str] = []
    read_cloud(tmp_path / "a.ply", notes.append)
    assert notes == [f"{tmp_path / 'a.ply'}: 2 points are NaN or infinite and are left out"]


def bad_clouds(folder: Path) -> dict[str, str]:
    """Files that must be refused, by name, with a part of the message."""
    write_ply(folder / "whole.ply", PointCloud(POINTS, COLORS))
    whole = (folder / "whole.ply").read_bytes()
    (folder / "truncated.ply").write_bytes(whole[:-5])
    (folder / "headless.ply").write_bytes(whole[:40])
    (folder / "claims.ply").write_bytes(whole.replace(b"vertex 3", b"vertex 99999999999"))
    (folder / "kind.ply").write_bytes(whole.replace(b"float x", b"quadruple x"))
    (folder / "text.ply").write_text("no cloud")
    write_ply(folder / "empty.ply", PointCloud(POINTS[:0]))
    write_ply(folder / "nan.ply", PointCloud(np.full((4, 3), np.nan, np.float32)))
    write_ply(folder / "far.ply", PointCloud(POINTS + np.array([4e6, 0, 0])))
    (folder / "truncated.pcd").write_bytes(pcd_header("binary") + b"1234")
    (folder / "claims.pcd").write_bytes(pcd_header("ascii", 99999999999) + b"1 2 3")
    (folder / "squeezed.pcd").write_bytes(
        pcd_header("binary_compressed") + struct.pack("<II", 3, 48) + b"\xff\xff\xff"
    )
    (folder / "words.pcd").write_bytes(pcd_header("ascii", 1) + b"a b c d")
    (folder / "other.las").write_bytes(b"LASF" + bytes(100))
    np.savez(folder / "unnamed.npz", POINTS)
    (folder / "cut.npz").write_bytes((folder / "unnamed.npz").read_bytes()[:60])
    np.save(folder / "flat.npy", POINTS.ravel())
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(folder / "colors.npz", points=POINTS, colors=COLORS[:2])
    return {
        "missing.ply": "no such file",
        "cloud.abc": "unknown kind",
        "truncated.ply": "truncated",
        "headless.ply": "not a PLY",
        "claims.ply": "truncated",
        "kind.ply": "header",
        "text.ply": "not a PLY",
        "empty.ply": "no points",
        "nan.ply": "all 4 points are NaN",
        "far.ply": "subtract an origin",
        "truncated.pcd": "truncated",
        "claims.pcd": "truncated",
        "squeezed.pcd": "damaged",
        "words.pcd": "numbers",
        "other.las": "LAS",
        "unnamed.npz": "'points'",
        "cut.npz": "NumPy",
        "flat.npy": "shape",
        "objects.npy": "NumPy",
        "colors.npz": "colors have shape",
    }


def test_bad_clouds_are_refused_with_one_line_that_names_the_file(tmp_path: Path) -> None:
    for name, part in bad_clouds(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_cloud(tmp_path / name)
        message = str(caught.value)
        assert part in message and name in message and "\n" not in message, (name, message)


@pytest.mark.parametrize("suffix", [".ply", ".pcd", ".npz", ".npy", ".las"])
def test_damaged_files_never_raise_anything_else(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".ply":
        write_ply(whole, PointCloud(POINTS, COLORS))
    elif suffix == ".pcd":
        plain = b"".join(np.ascontiguousarray(column, "<f4").tobytes() for column in pcd_columns())
        packed = bytes([31]) + plain[:32] + bytes([15]) + plain[32:]
        whole.write_bytes(pcd_header("binary_compressed") + struct.pack("<II", len(packed), 48) + packed)
    elif suffix == ".npz":
        np.savez(whole, points=POINTS, colors=COLORS)
    elif suffix == ".npy":
        np.save(whole, POINTS)
    else:
        laspy = pytest.importorskip("laspy")
        las = laspy.create(point_format=2, file_version="1.2")
        las.xyz = POINTS
        las.write(str(whole))
    check(whole, colored=suffix in (".ply", ".pcd", ".npz"))
    content = whole.read_bytes()
    rng = np.random.default_rng(0)
    damaged = tmp_path / f"damaged{suffix}"
    for _ in range(60):
        data = bytearray(content)
        for at in rng.integers(0, min(len(data), 400), rng.integers(1, 4)):
            data[at] = rng.integers(0, 256)
        damaged.write_bytes(data[: rng.integers(0, len(data) + 1)] if rng.random() < 0.3 else data)
        try:
            cloud = read_cloud(damaged)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(cloud.points).all() and len(cloud.points) > 0
