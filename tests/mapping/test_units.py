"""Clouds that are not in metres are refused before the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.source import read_source
from diff2i2p_core.mapping.units import check_metres


@pytest.mark.parametrize("scale", [1000, 100])
def test_millimetres_and_centimetres(room_cloud: PointCloud, scale: float) -> None:
    with pytest.raises(InputError, match=r"it: would be .* m between points, so it is not in metres"):
        check_metres(room_cloud.points * scale, "it")
    with pytest.raises(InputError, match="not in metres"):
        check_metres(room_cloud.thinned(0.2).points * scale, "it")


def test_a_dense_scan_in_millimetres_is_recognized_by_its_height() -> None:
    points = np.random.default_rng(0).uniform(0, 1, (3_000_000, 3)).astype(np.float32)
    points[:, 2] = np.rint(points[:, 2])  # two levels
    with pytest.raises(InputError, match="not in metres"):
        check_metres(points * np.array([600, 600, 2500], np.float32), "it")


def test_sparse_clouds_in_metres(room_cloud: PointCloud) -> None:
    rows = np.random.default_rng(0).integers(0, len(room_cloud), 150)
    with pytest.raises(InputError, match=r"it: has [\d.]+ m between points; give a denser cloud, in metres"):
        check_metres(room_cloud.points[rows] * 3, "it")


def test_kilometres(room_cloud: PointCloud) -> None:
    with pytest.raises(InputError, match=r"would be 0\.00\d+ x .* so it is not in metres; scale it"):
        check_metres(room_cloud.points / np.float32(1000), "it")


def test_places_in_metres_pass(room_cloud: PointCloud) -> None:
    check_metres(room_cloud.points, "it")
    check_metres(room_cloud.thinned(0.3).points, "it")
    check_metres(np.tile(room_cloud.points[:50], (3, 1)), "it")
    rng = np.random.default_rng(0)
    city = rng.uniform(0, 1, (4_000_000, 3)).astype(np.float32) * np.array([700, 700, 0.1], np.float32)
    check_metres(city, "it")


def test_every_way_to_a_map_checks_them(tmp_path: Path, room_cloud: PointCloud) -> None:
    large = PointCloud(room_cloud.points * 1000, room_cloud.colors)
    write_ply(tmp_path / "a.ply", large)
    for way in (
        lambda: read_source(tmp_path / "a.ply"),
        lambda: Localizer.from_cloud(large),
        lambda: Localizer.for_single_cloud(large),
    ):
        with pytest.raises(InputError, match="perhaps in millimetres"):
            way()
