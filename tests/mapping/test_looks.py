"""What rendered views show: chosen from the cloud, recorded in maps, an entry of one table."""

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
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import exp, translation_error
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping import looks
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.join import join_maps
from diff2i2p_core.mapping.looks import LOOKS, Look, look_of
from diff2i2p_core.mapping.map_file import MapInfo, PointMap, load_map, save_map
from diff2i2p_core.mapping.matchers import kinds_for
from diff2i2p_core.mapping.packed_views import PackedViews, RenderSettings
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.models.view_networks import PictureNetworks, State
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.ops.render_view import RenderedView, render_view
from diff2i2p_core.weights.xfeat import load_xfeat, xfeat_weights


def grey(cloud: PointCloud) -> PointCloud:
    """A cloud whose intensity is the green of its colours, without these."""
    assert cloud.colors is not None
    return PointCloud(cloud.points, intensity=cloud.colors[:, 1])


def map_of(cloud: PointCloud, look: str) -> PointMap:
    """A map of two views with random features."""
    descriptors = torch.nn.functional.normalize(torch.randn(9, 64), dim=1).half()
    poses = np.array([exp([0, 0, 0, x, 1, 1]) for x in (1.0, 2.0)])
    views = PackedViews.of(RenderSettings(look=look), poses, [5, 4], torch.rand(9, 3).half(), descriptors)
    info = MapInfo("room", "none", "0" * 64, "mono", "geometry", SubmapSettings(), spacing=0.03)
    return PointMap(info, cloud, np.empty((0, 4, 4)), [], ViewMap(views, BlockCloud.of(cloud), 0.03))


def test_colours_are_shown_rather_than_intensity(room_cloud: PointCloud) -> None:
    both = replace(room_cloud, intensity=grey(room_cloud).intensity)
    assert look_of(room_cloud) is look_of(both) is LOOKS["colors"]
    assert look_of(grey(room_cloud)) is LOOKS["intensity"]
    assert look_of(PointCloud(room_cloud.points)) is LOOKS["geometry"]


def test_all_clouds_have_views(xfeat_network: XFeat) -> None:
    for look in LOOKS.values():
        assert kinds_for("auto", look) == ["views", "network"] and kinds_for("views", look) == ["views"]
        assert kinds_for("network", look) == ["network"]


def test_maps_record_the_look_and_old_ones_show_colours(room_cloud: PointCloud, tmp_path: Path) -> None:
    for look, cloud in (("colors", room_cloud), ("intensity", grey(room_cloud))):
        save_map(map_of(cloud, look), tmp_path / f"{look}.map")
        loaded = load_map(tmp_path / f"{look}.map").rendered
        assert loaded is not None and loaded.look is LOOKS[look]
    with safe_open(tmp_path / "colors.map", "pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["rendered"])
    del header["views"]["look"]
    tensors = load_file(tmp_path / "colors.map")
    save_file(tensors, tmp_path / "old.map", {**metadata, "rendered": json.dumps(header)})
    old = load_map(tmp_path / "old.map").rendered
    assert old is not None and old.look is LOOKS["colors"]
    header["views"]["look"] = "smell"
    save_file(tensors, tmp_path / "new.map", {**metadata, "rendered": json.dumps(header)})
    with pytest.raises(InputError, match=r"new\.map: .*views show 'smell', but only colors, intensity"):
        load_map(tmp_path / "new.map")
    header["views"]["look"] = "intensity"
    save_file(tensors, tmp_path / "bad.map", {**metadata, "rendered": json.dumps(header)})
    with pytest.raises(InputError, match=r"bad\.map: .*intensity, which its points do not have"):
        load_map(tmp_path / "bad.map")


def test_map_info_says_what_the_views_show(room_cloud: PointCloud, tmp_path: Path) -> None:
    path = tmp_path / "grey.map"
    save_map(map_of(grey(room_cloud), "intensity"), path)
    run = CliRunner().invoke(app, ["map", "info", str(path)])
    assert "views     2 of its intensity with 9 features" in run.stdout
    assert (
        json.loads(CliRunner().invoke(app, ["map", "info", str(path), "--json"]).stdout)["look"]
        == "intensity"
    )


def test_maps_that_show_different_things_are_not_joined(room_cloud: PointCloud) -> None:
    maps = {"a.map": map_of(room_cloud, "colors"), "b.map": map_of(grey(room_cloud), "intensity")}
    with pytest.raises(InputError, match="show colours or intensity"):
        join_maps(maps, apart=3.0)


def test_a_look_is_an_entry_of_the_table(
    room_cloud: PointCloud, xfeat_network: XFeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[int] = []

    def of_height(cloud: PointCloud, *arguments: object, **named: object) -> RenderedView:
        rendered.append(len(cloud))
        height = (127 + 120 * np.sin(9 * cloud.points)).astype(np.uint8)
        return render_view(PointCloud(cloud.points, height), *arguments, **named)  # type: ignore[arg-type]

    def networks(device: str, state: State | None = None) -> PictureNetworks:
        return PictureNetworks(load_xfeat(), device)

    look = Look("height", "height", lambda cloud: True, of_height, xfeat_weights, networks)
    monkeypatch.setattr(looks, "LOOKS", {"height": look, **LOOKS})
    pose = np.array([[1.0, 0, 0, 2], [0, 0, 1, 0.3], [0, -1, 0, 1.2], [0, 0, 0, 1]])
    localizer = Localizer.from_cloud(PointCloud(room_cloud.points), matcher="views", views=pose[None], up="z")
    assert localizer.map.rendered is not None and localizer.map.rendered.look is look
    camera = localizer.map.rendered.views.settings.camera()
    image = of_height(PointCloud(room_cloud.points), np.linalg.inv(pose), camera, 0.03).image
    before = len(rendered)
    found = localizer.localize(image, camera)
    assert found.map_from_camera is not None and translation_error(found.map_from_camera, pose) < 0.05
    assert len(rendered) > before, "the map was rendered again in its look"
