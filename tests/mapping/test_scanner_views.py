"""Where a laser scanner stood, the map is viewed from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.mapping.source import MapSource, read_source
from diff2i2p_core.mapping.viewpoints import axis_vector, rotation_from_z_up


def test_scanner_positions_become_views(tmp_path: Path, room_cloud: PointCloud) -> None:
    pye57 = pytest.importorskip("pye57")
    place, stood = np.array([500_000.0, 4_000_000.0, 0.0]), np.array([1.0, 1.5, 1.6])
    assert room_cloud.colors is not None
    local = room_cloud.points.astype(np.float64) - stood
    names = [
        *(f"cartesian{axis}" for axis in "XYZ"),
        *(f"color{channel}" for channel in ("Red", "Green", "Blue")),
    ]
    columns = [np.ascontiguousarray(column) for column in (*local.T, *room_cloud.colors.T)]
    with pye57.E57(str(tmp_path / "a.e57"), mode="w") as file:
        file.write_scan_raw(
            dict(zip(names, columns, strict=True)),
            rotation=np.array([1.0, 0, 0, 0]),
            translation=place + stood,
        )
    source = read_source(tmp_path / "a.e57", up="z", origin=place)
    sampled = MapSource.unseen(source.cloud, "z")
    for views, fewer in (
        (source.render_views, sampled.render_views),
        (source.submap_views, sampled.submap_views),
    ):
        assert len(views) == len(fewer) + 8
        np.testing.assert_allclose(views[-8:, :3, 3], np.tile(stood, (8, 1)), atol=1e-6)
        np.testing.assert_allclose(views[-8:, :3, 2].sum(axis=0), 0, atol=1e-9)  # all around


@pytest.mark.parametrize("up", ["z", "-y", "x"])
def test_the_views_of_a_scanner_are_level_in_the_map(room_cloud: PointCloud, up: str) -> None:
    """E57 does not say which axis points up."""
    axis = axis_vector(up)
    turned = room_cloud.moved(compose(rotation_from_z_up(up), np.zeros(3)))
    stood = turned.points.mean(axis=0).astype(float)
    views = MapSource.unseen(turned, up).seen_from(stood[None]).render_views[-8:]
    np.testing.assert_allclose(views[:, :3, 3], np.tile(stood, (8, 1)))
    np.testing.assert_allclose(views[:, :3, 1] @ axis, -1, atol=1e-9)  # down in the image is down
    assert np.unique(np.round(views[:, :3, 2], 6), axis=0).shape == (8, 3)
