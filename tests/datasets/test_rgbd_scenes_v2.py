"""RGB-D Scenes V2 in its raw layout, unpacked and as two zips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raw_layouts import png, recording, zip_folder
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.datasets.check import check_set
from diff2i2p_core.datasets.rgbd_scenes_v2 import CAMERA, rgbd_scenes_v2
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import to_quaternion
from diff2i2p_core.pairs.benchmark_pairs import read_frame
from diff2i2p_core.pairs.metadata import read_metadata

SCENES = {"01": "train", "09": "val", "12": "test"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "rgbd-scenes-v2"
    (root / "pc").mkdir(parents=True)
    for scene in SCENES:
        folder = root / "imgs" / f"scene_{scene}"
        folder.mkdir(parents=True)
        lines = []
        for frame in recording(4, 0.1 * int(scene), CAMERA):
            (folder / f"{frame.number:05d}-color.png").write_bytes(png(frame.image))
            (folder / f"{frame.number:05d}-depth.png").write_bytes(png(frame.depth))
            x, y, z, w = to_quaternion(frame.world_from_camera)
            values = [w, x, y, z, *frame.world_from_camera[:3, 3]]
            lines.append(" ".join(f"{value:.9f}" for value in values))
        (root / "pc" / f"{scene}.pose").write_text("\n".join(lines) + "\n")
    return root


def test_the_papers_split_and_names(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    arguments = ["prepare", "rgbd-scenes-v2", str(raw), str(out)]
    arguments += ["--window", "2", "--voxel", "0.05", "--processes", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    for scene, subset in SCENES.items():
        entries = read_metadata(out, "rgbd_scenes_v2", subset)
        assert {entry.scene for entry in entries} == {f"rgbd-scenes-v2-scene_{scene}"}
        entry = entries[0]
        assert entry.image_file == f"rgbd-scenes-v2-scene_{scene}/color_{entry.image_id}.png"
        frames = recording(4, 0.1 * int(scene), CAMERA)
        image, cloud = frames[int(entry.image_id)], frames[int(entry.cloud_id)]
        expected = np.linalg.inv(image.world_from_camera) @ cloud.world_from_camera
        np.testing.assert_allclose(entry.camera_from_cloud, expected, atol=1e-6)
        assert read_frame(out, entry)[2] == CAMERA
    assert check_set(out).problems == []


def test_zips(raw: Path, tmp_path: Path) -> None:
    for name in ("imgs", "pc"):
        zip_folder(raw / name, tmp_path / f"rgbd-scenes-v2_{name}.zip", f"rgbd-scenes-v2/{name}")
    zipped, plain = rgbd_scenes_v2(tmp_path, tmp_path / "work"), rgbd_scenes_v2(raw, tmp_path / "work")
    assert [(r.scene, r.subset, r.numbers) for r in zipped] == [(r.scene, r.subset, r.numbers) for r in plain]
    np.testing.assert_array_equal(zipped[1].frame(2).depth, plain[1].frame(2).depth)
    np.testing.assert_array_equal(zipped[1].world_from_camera(2), plain[1].world_from_camera(2))


def test_broken_data(raw: Path, tmp_path: Path) -> None:
    def fails(words: str) -> None:
        with pytest.raises(InputError, match=words):
            rgbd_scenes_v2(tmp_path, tmp_path / "work")

    fails("holds no folders imgs and pc")
    folder = tmp_path / "imgs" / "scene_01"
    folder.mkdir(parents=True)
    (tmp_path / "pc").mkdir()
    fails(r"holds no NNNNN-color\.png")
    (folder / "00003-color.png").touch()
    fails(r"00003-depth\.png is missing")
    (folder / "00003-depth.png").touch()
    fails(r"01\.pose is missing")
    pose = tmp_path / "pc" / "01.pose"
    pose.write_text("1 0 0 0 0 0\n")
    fails("not lines `qw qx qy qz x y z`")
