"""Intensity travels from a cloud file through the map to the network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import laspy
import numpy as np
import pytest
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.clouds import read_cloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.point_attributes import INTENSITY_NAMES, scaled_intensity
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.mapping.map_file import load_map
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.messages.clouds import cloud_of
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.weights.checkpoint import read_config, save_model

RAW = np.linspace(0, 4000, 500).astype(np.float32)
POINTS = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)


def is_ramp(cloud: PointCloud) -> bool:
    values = cloud.intensity
    return values is not None and values[0] == 0 and values[-1] == 255 and bool((np.diff(values) >= 0).all())


@pytest.mark.parametrize("name", INTENSITY_NAMES)
def test_pcd_under_its_usual_names(tmp_path: Path, name: str) -> None:
    table = np.column_stack([POINTS, RAW]).astype("<f4")
    header = (
        f"VERSION 0.7\nFIELDS x y z {name}\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 500\nHEIGHT 1\n"
        "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 500\nDATA binary\n"
    )
    (tmp_path / "a.pcd").write_bytes(header.encode() + table.tobytes())
    assert is_ramp(read_cloud(tmp_path / "a.pcd"))


def test_ply_las_and_npz(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", PointCloud(POINTS, intensity=scaled_intensity(RAW)))
    assert is_ramp(read_cloud(tmp_path / "a.ply"))
    las = laspy.create(point_format=0)
    las.x, las.y, las.z = POINTS.T
    las.intensity = RAW.astype(np.uint16)
    las.write(str(tmp_path / "a.las"))
    assert is_ramp(read_cloud(tmp_path / "a.las"))
    np.savez(tmp_path / "a.npz", points=POINTS, intensity=RAW)
    assert is_ramp(read_cloud(tmp_path / "a.npz"))
    las.intensity = np.zeros(500, np.uint16)  # writers without any
    las.write(str(tmp_path / "b.las"))
    assert read_cloud(tmp_path / "b.las").intensity is None


@pytest.mark.parametrize(("datatype", "kind"), [(2, "u1"), (4, "<u2"), (7, "<f4")])
def test_point_cloud_messages(datatype: int, kind: str) -> None:
    values = (RAW / RAW.max() * (255 if datatype == 2 else 4000)).astype(kind)
    table = np.zeros(500, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", kind)])
    for axis, name in enumerate("xyz"):
        table[name] = POINTS[:, axis]
    table["intensity"] = values
    kinds = {"x": 7, "y": 7, "z": 7, "intensity": datatype}
    fields = [
        SimpleNamespace(name=name, offset=4 * i, datatype=kinds[name], count=1)
        for i, name in enumerate(table.dtype.names or ())
    ]
    message = SimpleNamespace(
        fields=fields,
        width=500,
        height=1,
        point_step=table.dtype.itemsize,
        row_step=500 * table.dtype.itemsize,
        is_bigendian=False,
        data=table.tobytes(),
    )
    assert is_ramp(cloud_of(message, "cloud"))


def test_a_few_bright_reflectors_do_not_darken_the_rest() -> None:
    values = np.concatenate([np.linspace(0, 100, 997), [60_000.0] * 3])
    scaled = scaled_intensity(values)
    assert scaled is not None and scaled[498] == pytest.approx(128, abs=3) and scaled[-1] == 255


def test_a_map_built_with_intensity_weights_holds_it_and_the_network_sees_it(
    tmp_path: Path, tiny_weights: Path, room_cloud: PointCloud
) -> None:
    torch.manual_seed(0)
    config = read_config(tiny_weights)[0].model_copy(update={"point_features": "intensity", "name": "lidar"})
    save_model(Diff2I2P(config), tmp_path / "lidar.safetensors")
    bright = (127 + 120 * np.sin(5 * room_cloud.points[:, 0])).astype(np.uint8)
    maps = {}
    for name, intensity in (("wavy", bright), ("flat", np.full_like(bright, 40))):
        intensity[0], intensity[1] = 0, 255
        np.savez(tmp_path / f"{name}.npz", points=room_cloud.points, intensity=intensity)
        write_trajectory(tmp_path / "views.tum", [0.0], [looking(np.array([2, 1.0, 1.2]), 1.5, 0.1)])
        build_map(
            tmp_path / f"{name}.npz",
            tmp_path / f"{name}.map",
            weights=tmp_path / "lidar.safetensors",
            trajectory=tmp_path / "views.tum",
        )
        maps[name] = load_map(tmp_path / f"{name}.map")
    wavy, flat = maps["wavy"], maps["flat"]
    assert wavy.cloud.colors is None
    assert wavy.cloud.intensity is not None and flat.cloud.intensity is not None
    assert wavy.cloud.intensity.std() > 50 > 5 > flat.cloud.intensity.std()
    assert not torch.allclose(wavy.submaps[0].fine, flat.submaps[0].fine, atol=1e-2)


def test_weights_that_need_intensity_say_so(
    tmp_path: Path, tiny_weights: Path, room_cloud: PointCloud
) -> None:
    from diff2i2p_core.localization.localizer import Localizer

    config = read_config(tiny_weights)[0].model_copy(update={"point_features": "intensity"})
    save_model(Diff2I2P(config), tmp_path / "lidar.safetensors")
    with pytest.raises(InputError, match="need a cloud with intensity, but this one has none"):
        Localizer.for_single_cloud(room_cloud, tmp_path / "lidar.safetensors")
