from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.mapping.build import map_from_views, model_for_map
from diff2i2p_core.mapping.map_file import FORMAT, PointMap, load_info, load_map, save_map
from diff2i2p_core.mapping.packed import pack
from diff2i2p_core.mapping.viewpoints import looking


@pytest.fixture(scope="module")
def point_map(tiny_weights: Path, room_cloud: PointCloud) -> PointMap:
    model, info = model_for_map(tiny_weights, "room")
    views = np.array([looking(np.array([2, 1.0, 1.2]), yaw, 0.1) for yaw in (0.0, 1.5, 3.0)])
    return map_from_views(room_cloud, views, model, info)


def test_what_is_saved_is_loaded(point_map: PointMap, tmp_path: Path) -> None:
    save_map(point_map, tmp_path / "room.map")
    loaded = load_map(tmp_path / "room.map")
    assert loaded.info == point_map.info
    np.testing.assert_array_equal(loaded.cloud.points, point_map.cloud.points)
    assert loaded.cloud.colors is not None and point_map.cloud.colors is not None
    np.testing.assert_array_equal(loaded.cloud.colors, point_map.cloud.colors)
    np.testing.assert_array_equal(loaded.views, point_map.views)
    assert len(loaded.submaps) == len(point_map.submaps) == 3
    for a, b in zip(loaded.submaps, point_map.submaps, strict=True):
        torch.testing.assert_close(a.points, b.points)
        torch.testing.assert_close(a.fine, b.fine, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(a.tokens, b.tokens, atol=1e-2, rtol=1e-3)
        assert torch.equal(a.node_valid, b.node_valid)
        width = b.patches.shape[1]
        assert torch.equal(a.patches[:, :width], b.patches)
        assert (a.patches[:, width:] == len(a.points)).all()
    info, counts = load_info(tmp_path / "room.map")
    assert info == point_map.info and counts["submaps"] == 3 and counts["points"] == len(point_map.cloud)


def test_a_file_gives_submaps_only_when_asked(point_map: PointMap, tmp_path: Path) -> None:
    save_map(point_map, tmp_path / "room.map")
    loaded = load_map(tmp_path / "room.map")
    again = tmp_path / "again.map"
    save_map(loaded, again)  # passes through
    assert again.read_bytes() == (tmp_path / "room.map").read_bytes()
    block = pack(loaded.submaps).blocks[0]
    assert block.tensors["fine"].dtype == torch.float16 and loaded.submaps[0].fine.dtype == torch.float32
    block.tensors["patches"][-1] = 10**6  # of the copy in memory
    assert len(loaded.submaps[0].points)
    with pytest.raises(InputError, match=r"room\.map: damaged \(invalid indices in patches"):
        loaded.submaps[2]


def test_other_weights_are_refused_by_name(point_map: PointMap) -> None:
    info = point_map.info
    info.check_weights("tiny", info.weights_id, "room.map")
    with pytest.raises(InputError, match=r"room\.map: made with weights 'tiny' .* given 'b' .*rebuild"):
        info.check_weights("b", "0" * 64, "room.map")


def test_files_that_are_not_maps_are_refused(point_map: PointMap, tiny_weights: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.map"
    save_map(point_map, good)
    (tmp_path / "cut.map").write_bytes(good.read_bytes()[:-100])
    (tmp_path / "text.map").write_text("no map at all")
    (tmp_path / "empty.map").write_bytes(b"")
    (tmp_path / "room.ply").write_text("ply")
    (tmp_path / "weights.map").write_bytes(tiny_weights.read_bytes())
    tensors = load_file(good)
    save_file(tensors, tmp_path / "old.map", {"format": "diff2i2p-map-0", "info": "{}"})
    save_file(tensors, tmp_path / "info.map", {"format": FORMAT, "info": "{}"})
    parts = {
        "missing.map": "no such map",
        "room.ply": "a cloud, not a map file",
        "cut.map": "not a complete map",
        "text.map": "not a complete map",
        "empty.map": "not a complete map",
        "weights.map": f"expected '{FORMAT}'",
        "old.map": "is 'diff2i2p-map-0'",
        "info.map": "description is damaged",
    }
    for name, part in parts.items():
        with pytest.raises(InputError, match=part) as caught:
            load_map(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_lengths_that_do_not_add_up_are_refused(point_map: PointMap, tmp_path: Path) -> None:
    good = tmp_path / "good.map"
    save_map(point_map, good)
    from safetensors import safe_open

    with safe_open(str(good), "pt") as file:
        metadata = file.metadata()
    tensors = load_file(good)
    tensors["num_points"] = tensors["num_points"] + 1
    save_file(tensors, tmp_path / "bad.map", metadata)
    with pytest.raises(InputError, match="is inconsistent"):
        load_map(tmp_path / "bad.map")
    tensors = load_file(good)
    del tensors["submaps.fine"]
    save_file(tensors, tmp_path / "less.map", metadata)
    with pytest.raises(InputError, match="lacks"):
        load_map(tmp_path / "less.map")


def test_views_that_see_nothing_are_left_out(tiny_weights: Path, room_cloud: PointCloud) -> None:
    model, info = model_for_map(tiny_weights, "room")
    inside, away = looking(np.array([2, 1.0, 1.2]), 0.0, 0.1), compose(np.eye(3), [0, 0, 90])
    assert len(map_from_views(room_cloud, np.array([away, inside]), model, info).submaps) == 1
    with pytest.raises(InputError, match="room: none of 1 views"):
        map_from_views(room_cloud, np.array([away]), model, info)
