"""Points far from the others, and whole clouds far from the origin of their coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.clouds import read_cloud, read_cloud_at, usable

POINTS = np.random.default_rng(0).uniform(-4, 4, (300, 3)).astype(np.float32)
UTM = np.array([431_234.5, 5_412_345.25, 512.0])


@pytest.mark.parametrize("far", [5e3, 1e6, -1e6, 1e36, 3e38])
@pytest.mark.parametrize("count", [1, 20])
def test_stray_points_are_left_out_and_counted(far: float, count: int) -> None:
    notes: list[str] = []
    points = POINTS.copy()
    points[10 : 10 + count, 1] = far
    cloud = usable(PointCloud(points), "it", notes.append)
    np.testing.assert_array_equal(cloud.points, np.delete(POINTS, slice(10, 10 + count), axis=0))
    words = "over 1000 m away from the others and"
    assert notes == [
        f"it: 1 point is {words} is left out"
        if count == 1
        else f"it: {count} points are {words} are left out"
    ]


def test_a_large_place_keeps_all_its_points() -> None:
    points = np.concatenate([POINTS * 100, np.array([[3000, 0, 0], [0, -2500, 40]], np.float32)])
    assert len(usable(PointCloud(points), "it", pytest.fail)) == len(points)


def test_too_wide_and_too_far_are_told_apart() -> None:
    with pytest.raises(
        InputError, match=r"is 79\d+ m wide, too much for a map in metres; scale it to metres"
    ):
        usable(PointCloud(POINTS * 10_000), "it")
    with pytest.raises(
        InputError, match=r"coordinates reach 6000\d, too far .*; subtract an origin, and check"
    ):
        usable(PointCloud(POINTS + np.float32(60_000)), "it")


def saved(folder: Path, suffix: str, points: NDArray[np.floating]) -> Path:
    path = folder / f"a{suffix}"
    if suffix == ".las":
        import laspy

        header = laspy.LasHeader(point_format=0, version="1.2")
        header.offsets, header.scales = np.floor(points.mean(axis=0)), np.full(3, 0.0001)
        las = laspy.LasData(header)
        las.xyz = points
        las.write(str(path))
    elif suffix == ".npz":
        np.savez(path, points=points)
    elif suffix == ".pcd":
        words = "\n".join(" ".join(f"{value:.4f}" for value in point) for point in points)
        top = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH {0}\nHEIGHT 1\nPOINTS {0}\nDATA ascii\n"
        path.write_text(top.format(len(points)) + words)
    else:
        table = "property double x\nproperty double y\nproperty double z\nend_header\n"
        top = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{table}"
        path.write_bytes(top.encode() + points.astype("<f8").tobytes())
    return path


@pytest.mark.parametrize("suffix", [".ply", ".pcd", ".las", ".npz"])
def test_georeferenced_clouds_keep_their_millimetres(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path, suffix, POINTS + UTM)
    with pytest.raises(InputError, match=r"too far for a map in metres; subtract an origin \(`origin`"):
        read_cloud(path)
    notes: list[str] = []
    cloud, origin, _ = read_cloud_at(path, "auto", notes.append)
    assert origin is not None and origin.tolist() == [431_200, 5_412_300, 500]
    np.testing.assert_allclose(cloud.points + origin, POINTS + UTM, atol=2e-4)
    assert notes == [f"{path}: the origin of the map is (431200, 5412300, 500)"]
    cloud, *_ = read_cloud_at(path, UTM)
    np.testing.assert_allclose(cloud.points, POINTS, atol=2e-4)


def test_origin_of_a_cloud_with_zeros_and_stray_points(tmp_path: Path) -> None:
    points = POINTS + UTM
    points[:5] = 0
    points[7, 2] = 1e20
    cloud, origin, _ = read_cloud_at(saved(tmp_path, ".ply", points), "auto")
    assert origin is not None and origin.tolist() == [431_200, 5_412_300, 500] and len(cloud) == 294


def test_an_origin_far_from_the_cloud_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, ".npz", POINTS)
    with pytest.raises(
        InputError, match=r"coordinates reach 5412\d+.*; give an origin near the cloud, or auto"
    ):
        read_cloud_at(path, UTM)


def test_origin_near_zero_changes_nothing(tmp_path: Path) -> None:
    cloud, origin, _ = read_cloud_at(saved(tmp_path, ".npz", POINTS.astype(np.float64)), "auto")
    assert origin is not None and origin.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(cloud.points, POINTS)


def test_coordinates_rounded_by_their_writer_are_mentioned_or_refused(tmp_path: Path) -> None:
    notes: list[str] = []
    np.save(tmp_path / "a.npy", (POINTS + np.array([90_000.0, 0, 0])).astype(np.float32))
    read_cloud_at(tmp_path / "a.npy", "auto", notes.append)
    assert notes[1].endswith("stored as 32-bit floats, its coordinates are rounded to 0.78 cm")
    np.save(tmp_path / "a.npy", (POINTS + UTM).astype(np.float32))
    with pytest.raises(InputError, match=r"rounded to 50 cm; export it with doubles"):
        read_cloud_at(tmp_path / "a.npy", "auto")
