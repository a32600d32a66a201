"""Maps without colours: their views show shapes, and they carry the networks that described them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.mapping.join import join_maps
from diff2i2p_core.mapping.map_file import load_map, save_map
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.weights.geometry import load_geometry, save_geometry

CAMERA = Camera(320, 240, 262.5, 262.5, 159.5, 119.5)
WEIGHT = "photos.trunk.block_fusion.2.weight"
POSES = camera_path(make_room(20_003), 10, 20_003)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    write_frames(folder, make_room(20_003), CAMERA, POSES)
    return folder


@pytest.fixture(scope="module")
def localizer(folder: Path) -> Localizer:
    numbers = [0, 1, 3, 4, 6, 7, 9]
    return Localizer.from_frames(folder, numbers, matcher="views", colors=False)


def test_a_map_without_colours_localizes_images(localizer: Localizer, folder: Path) -> None:
    assert localizer.map.cloud.colors is None and localizer.map.rendered is not None
    assert localizer.map.rendered.look.name == "geometry"
    frames = PosedFrames(folder)
    errors = []
    for number in (2, 5, 8):
        found = localizer.localize(frames[number].image, frames.camera)
        if found.map_from_camera is not None:
            errors.append(
                (
                    translation_error(found.map_from_camera, POSES[number]),
                    rotation_error_deg(found.map_from_camera, POSES[number]),
                )
            )
    assert len(errors) >= 2
    assert max(metres for metres, _ in errors) < 0.25 and max(degrees for _, degrees in errors) < 10


def test_it_is_searched_around_poses_unless_a_prior_tells_them(localizer: Localizer, folder: Path) -> None:
    frame, camera = PosedFrames(folder)[5], PosedFrames(folder).camera
    anywhere = localizer.localize(frame.image, camera)
    near = localizer.localize(frame.image, camera, prior=POSES[5])
    assert anywhere.localized and near.localized
    assert anywhere.latency_ms["search"] > 0 and "search" not in near.latency_ms


def test_noise_is_refused(localizer: Localizer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert not localizer.localize(noise, CAMERA).localized


def test_maps_carry_the_networks_that_described_them(localizer: Localizer, tmp_path: Path) -> None:
    cloud = tmp_path / "room.ply"
    write_ply(cloud, PointCloud(localizer.map.cloud.points))
    write_trajectory(tmp_path / "path.txt", [float(i) for i in range(4)], POSES[:4])
    changed = load_geometry()
    with torch.no_grad():
        changed.state_dict()[WEIGHT].mul_(-1)
    save_geometry(changed, tmp_path / "mine.safetensors", {})
    maps = {}
    for name, weights in (("shipped", None), ("mine", tmp_path / "mine.safetensors")):
        path = tmp_path / f"{name}.map"
        build_map(cloud, path, matcher="views", weights=weights, trajectory=tmp_path / "path.txt")
        maps[name] = load_map(path)
    for name, network in (("shipped", load_geometry()), ("mine", changed)):
        rendered = maps[name].rendered
        assert rendered is not None
        assert torch.equal(rendered.networks[WEIGHT], network.state_dict()[WEIGHT].half())
        assert Localizer.open(tmp_path / f"{name}.map").proposers[0].name == "views"
        assert maps[name].doubts == []
    with pytest.raises(InputError, match="made with other weights"):
        join_maps({"a": maps["shipped"], "b": maps["mine"]}, apart=5.0)


def _with_other_networks(localizer: Localizer, path: Path) -> ViewMap:
    """Write a map as an earlier version did, with its networks, and nothing about where they come from."""
    rendered = localizer.map.rendered
    assert rendered is not None
    earlier = replace(rendered, networks={**rendered.networks, WEIGHT: -rendered.networks[WEIGHT]})
    save_map(replace(localizer.map, rendered=earlier), path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    settings = json.loads(metadata["rendered"])
    del settings["tuned"]
    save_file(load_file(path), path, {**metadata, "rendered": json.dumps(settings)})
    return earlier


def test_maps_of_earlier_weights_say_so(localizer: Localizer, tmp_path: Path) -> None:
    _with_other_networks(localizer, tmp_path / "old.map")
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    (warning,) = Localizer.open(tmp_path / "old.map").localize(noise, CAMERA).warnings
    assert "described with other weights than the installed ones" in warning
    assert "build the map again" in warning and "\n" not in warning
    assert localizer.localize(noise, CAMERA).warnings == ()
    save_map(localizer.map, tmp_path / "new.map")
    assert load_map(tmp_path / "new.map").doubts == []
    done = CliRunner().invoke(app, ["map", "info", str(tmp_path / "old.map"), "--json"])
    assert done.stderr == f"warning: {warning}\n" and json.loads(done.stdout)["views"] > 0


def test_maps_of_your_own_weights_are_not_doubted(localizer: Localizer, tmp_path: Path) -> None:
    earlier = _with_other_networks(localizer, tmp_path / "old.map")
    save_map(replace(localizer.map, rendered=replace(earlier, tuned=True)), tmp_path / "mine.map")
    assert load_map(tmp_path / "mine.map").doubts == []
    two = {"a": load_map(tmp_path / "mine.map"), "b": load_map(tmp_path / "mine.map")}
    assert join_maps(two, apart=5.0).doubts == []


def test_networks_of_another_structure_are_refused(localizer: Localizer, tmp_path: Path) -> None:
    rendered = localizer.map.rendered
    assert rendered is not None
    networks = {name: values for name, values in rendered.networks.items() if name != WEIGHT}
    save_map(replace(localizer.map, rendered=replace(rendered, networks=networks)), tmp_path / "old.map")
    with pytest.raises(
        InputError, match=r"old\.map: the weights are not of this version's .*build the map again"
    ):
        Localizer.open(tmp_path / "old.map")


def test_weights_for_shapes_are_refused_for_coloured_clouds(folder: Path, tmp_path: Path) -> None:
    save_geometry(load_geometry(), tmp_path / "mine.safetensors", {})
    with pytest.raises(InputError, match="for clouds without colours"):
        Localizer.from_frames(folder, [0, 1], tmp_path / "mine.safetensors", matcher="views")


def test_other_files_are_no_weights_for_shapes(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(InputError, match=r"^\S*bad\.safetensors: cannot be read"):
        load_geometry(tmp_path / "bad.safetensors")
