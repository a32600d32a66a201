"""`evaluate localization` of several cameras: the body's errors, each camera alone, and doubtful folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from replay_room import KnowingLocalizer, true_pose
from rig_frames import FRONT, LEFT, write_rig

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_rig_frames import localize_rig_frames
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.io.rgbd_folder import write_matrix
from diff2i2p_core.io.rig_folder import PosedRig, is_rig_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_rig(tmp_path / "rig")


def test_the_body_and_each_camera_alone(folder: Path) -> None:
    lines: list[str] = []
    rig = PosedRig(folder, lines.append)
    assert lines == [] and rig.names == ["front", "left"] and rig.numbers == [*range(8)]
    localizer = KnowingLocalizer(lost=(1, 3, 7, 11), wrong=(5,))
    results, cameras = localize_rig_frames(localizer, rig, rig.numbers, rate=30.0)  # type: ignore[arg-type]
    # 1 is the front camera's image alone; 3 and 7 are both images of moment 3; 7 and 11 those of moment 7
    assert [r.number for r in results if r.map_from_camera is None] == [1, 3, 7]
    assert [r.number for r in results if r.is_false] == [5]  # front's image 5
    for result in results:
        assert result.true_map_from_camera is not None
        body = true_pose(result.number) @ invert(FRONT)
        np.testing.assert_allclose(result.true_map_from_camera, body, atol=1e-8)
    front, left = cameras["front"], cameras["left"]
    assert [r.number for r in front.alone if r.map_from_camera is None] == [1, 3, 7]
    assert [r.number for r in left.alone] == [*range(2, 8)]
    assert [r.number for r in left.alone if r.map_from_camera is None] == [3, 7]
    assert [r.number for r in left.alone if r.is_false] == []  # image 5 of the left camera is not there
    assert (front.share.images, front.share.contributed) == (8, 5)
    assert (left.share.images, left.share.contributed) == (6, 4)
    assert left.as_dict()["alone"]["localized"] == 4


def test_the_first_frame_of_a_moment_is_read_alone(folder: Path) -> None:
    rig = PosedRig(folder)
    (camera, frame, depth), _ = rig.moment(3)
    for path in folder.glob("left/*.png"):
        path.unlink()
    alone = rig.first(3)
    assert alone[0].name == camera.name == "front"
    assert np.array_equal(alone[1].image, frame.image) and np.array_equal(alone[2], depth)


def test_mountings_that_contradict_the_poses_are_noted(folder: Path) -> None:
    write_matrix(folder / "left/body_from_camera.txt", LEFT)
    lines: list[str] = []
    PosedRig(folder, lines.append)
    (line,) = lines
    assert "body_from_camera.txt of left, the body is" in line and "those of front" in line


def test_folders_that_are_no_rig(folder: Path) -> None:
    assert is_rig_folder(folder) and not is_rig_folder(folder / "front") and not is_rig_folder(folder / "no")
    (folder / "left/body_from_camera.txt").unlink()
    with pytest.raises(InputError, match=r"left/body_from_camera.txt: cannot be read; each camera of"):
        PosedRig(folder)
    write_matrix(folder / "left/body_from_camera.txt", 2 * np.eye(4))
    with pytest.raises(InputError, match="camera 'left': body_from_camera is not a finite rigid transform"):
        PosedRig(folder)
    with pytest.raises(InputError, match="holds no posed RGB-D folder of a camera"):
        PosedRig(folder / "front")
