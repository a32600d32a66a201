from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.mapping.build import map_from_views, model_for_map
from diff2i2p_core.mapping.join import join_maps
from diff2i2p_core.mapping.map_file import PointMap, load_map, save_map
from diff2i2p_core.mapping.viewpoints import looking


@pytest.fixture(scope="module")
def maps(tiny_weights: Path, room_cloud: PointCloud) -> dict[str, PointMap]:
    """Two maps of the room from different places."""
    model, info = model_for_map(tiny_weights, "room")
    views = [looking(np.array([2, y, 1.2]), 0.5, 0.1) for y in (1.0, 2.0, 2.8)]
    return {
        "a.map": map_from_views(room_cloud, np.array(views[:2]), model, info),
        "b.map": map_from_views(room_cloud, np.array(views[2:]), model, replace(info, source="hall")),
    }


def test_maps_of_one_frame_are_put_together(maps: dict[str, PointMap], tmp_path: Path) -> None:
    a, b = maps.values()
    for name, part in maps.items():
        save_map(part, tmp_path / name)
    opened = {name: load_map(tmp_path / name) for name in maps}
    joined = join_maps(opened)
    save_map(joined, tmp_path / "all.map")
    for result in (joined, load_map(tmp_path / "all.map")):
        assert len(result.submaps) == 3 and result.info.source == "room + hall"
        np.testing.assert_array_equal(result.cloud.points, np.concatenate([a.cloud.points, b.cloud.points]))
        np.testing.assert_array_equal(result.views, np.concatenate([a.views, b.views]))
        for got, wanted in zip(result.submaps, [*a.submaps, *b.submaps], strict=True):
            assert torch.equal(got.points, wanted.points)
            assert torch.equal(got.patches[:, : wanted.patches.shape[1]], wanted.patches)
            torch.testing.assert_close(got.fine, wanted.fine, atol=1e-3, rtol=1e-3)


def test_maps_apart_stand_side_by_side_along_x(maps: dict[str, PointMap]) -> None:
    a, b = maps.values()
    joined = join_maps({**maps, "c.map": b}, apart=7.0)
    first, second, third = np.split(joined.cloud.points, [len(a.cloud), len(a.cloud) + len(b.cloud)])
    np.testing.assert_array_equal(first, a.cloud.points)
    assert second[:, 0].min() - first[:, 0].max() == pytest.approx(7, abs=1e-4)
    assert third[:, 0].min() - second[:, 0].max() == pytest.approx(7, abs=1e-4)
    np.testing.assert_array_equal(second[:, 1:], b.cloud.points[:, 1:])
    # submaps move with their map
    shift = second[0, 0] - b.cloud.points[0, 0]
    seen = transform_points(joined.views[2], joined.submaps[2].points)
    wanted = transform_points(b.views[0], b.submaps[0].points)
    np.testing.assert_allclose(seen - wanted, np.tile([shift, 0, 0], (len(seen), 1)), atol=1e-4)
    assert "7 m apart" in joined.info.source
    assert b.views[0, 0, 3] == pytest.approx(2)  # the given map is as it was


def test_maps_that_do_not_fit_are_refused(maps: dict[str, PointMap]) -> None:
    a, b = maps.values()
    other = replace(b, info=replace(b.info, weights_id="0" * 64, weights_name="other"))
    with pytest.raises(InputError, match=r"b\.map: made with weights 'other'"):
        join_maps({"a.map": a, "b.map": other})
    coarse = replace(b, info=replace(b.info, settings=replace(b.info.settings, max_depth=9.0)))
    with pytest.raises(InputError, match=r"b\.map: its submaps have other settings than those of a\.map"):
        join_maps({"a.map": a, "b.map": coarse})


def test_colours_stay_if_all_maps_have_them(maps: dict[str, PointMap]) -> None:
    a, b = maps.values()
    grey = replace(b, cloud=PointCloud(b.cloud.points, intensity=b.cloud.points[:, 0].astype(np.uint8)))
    bright = replace(a, cloud=replace(a.cloud, intensity=np.full(len(a.cloud), 9, np.uint8)))
    assert join_maps(maps).cloud.colors is not None
    assert join_maps({"a.map": a, "b.map": grey}).cloud.attributes == {}
    joined = join_maps({"a.map": bright, "b.map": grey}).cloud
    assert joined.colors is None and joined.intensity is not None
    np.testing.assert_array_equal(joined.intensity[len(a.cloud) :], grey.cloud.intensity)
