"""Maps of georeferenced clouds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.clouds import Origin
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.mapping.join import join_maps
from diff2i2p_core.mapping.map_file import MapInfo, PointMap, load_map
from diff2i2p_core.mapping.source import read_source
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

UTM = np.array([431_234.5, 5_412_345.25, 512.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, room_cloud: PointCloud, tiny_weights: Path) -> Path:
    """The room in UTM coordinates with a trajectory, and its maps with two origins and without one."""
    place = tmp_path_factory.mktemp("utm")
    pose = looking(np.array([2, 1.0, 1.2]), 1.5, 0.1)
    write_trajectory(place / "local.tum", [0.0], [pose])
    pose[:3, 3] += UTM
    write_trajectory(place / "utm.tum", [0.0], [pose])
    assert room_cloud.colors is not None
    np.savez(place / "utm.npz", points=room_cloud.points + UTM, colors=room_cloud.colors)
    np.savez(place / "local.npz", points=room_cloud.points, colors=room_cloud.colors)
    origins: dict[str, tuple[str, Origin]] = {
        "auto": ("utm", "auto"),
        "given": ("utm", UTM),
        "local": ("local", None),
    }
    for name, (source, origin) in origins.items():
        build_map(
            place / f"{source}.npz",
            place / f"{name}.map",
            matcher="network",
            weights=tiny_weights,
            trajectory=place / f"{source}.tum",
            origin=origin,
        )
    return place


def test_a_map_records_its_origin(folder: Path) -> None:
    auto, given, local = (load_map(folder / f"{name}.map") for name in ("auto", "given", "local"))
    origin = auto.info.origin
    assert origin is not None and origin == (431_200, 5_412_300, 500)
    assert local.info.origin is None
    assert given.info.origin == tuple(UTM)
    np.testing.assert_allclose(given.views, local.views, atol=1e-6)
    np.testing.assert_allclose(auto.views[:, :3, 3] + origin, local.views[:, :3, 3] + UTM, atol=1e-6)
    np.testing.assert_allclose(given.cloud.points, local.cloud.points, atol=2e-3)


def test_joined_maps_keep_their_places(folder: Path) -> None:
    def joined(*names: str, apart: float | None = None) -> PointMap:
        return join_maps({name: load_map(folder / f"{name}.map") for name in names}, apart)

    both = joined("auto", "given")
    assert both.info.origin == (431_200, 5_412_300, 500)
    np.testing.assert_allclose(both.views[0], both.views[1], atol=1e-6)
    first, second = (half.mean(axis=0) for half in np.array_split(both.cloud.points, 2))
    np.testing.assert_allclose(first, second, atol=0.1)
    for names, without in ((("auto", "local"), "local"), (("local", "auto"), "local")):
        with pytest.raises(InputError, match=f"^{without}: has no origin"):
            joined(*names)
    assert joined("local", "auto", apart=5).info.origin is None
    given = load_map(folder / "given.map")
    away = replace(given, info=replace(given.info, origin=(UTM[0] + 60_000, UTM[1], UTM[2])))
    with pytest.raises(InputError, match=r"^away, in the frame of given: coordinates reach 600\d\d, too far"):
        join_maps({"given": given, "away": away})


def test_maps_of_earlier_versions_have_no_origin(folder: Path) -> None:
    values = load_map(folder / "auto.map").info.as_dict()
    assert MapInfo.from_json(json.dumps(values), "it").origin == (431_200, 5_412_300, 500)
    del values["origin"]
    assert MapInfo.from_json(json.dumps(values), "it").origin is None


def test_frames_far_from_their_origin_are_refused(tmp_path: Path) -> None:
    room = make_room(3)
    poses = [pose + np.pad(UTM[:, None], ((0, 1), (3, 0))) for pose in camera_path(room, 3, 3)]
    write_frames(tmp_path, room, Camera(160, 120, 131, 131, 79.5, 59.5), camera_path(room, 3, 3))
    for number, pose in enumerate(poses):
        np.savetxt(tmp_path / f"frame-{number:06d}.pose.txt", pose)
    with pytest.raises(InputError, match=r"coordinates reach 54123\d+.*subtract an origin from the poses"):
        read_source(tmp_path)


def test_frames_have_no_origin(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`origin` is for cloud files"):
        read_source(tmp_path, origin="auto")
