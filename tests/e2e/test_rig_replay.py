"""Bags of two cameras, replayed for real: over DDS of this host, and a real office floor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import write_bag
from rig_bag import FRONT, LEFT, blank, in_blocks, two_cameras

from diff2i2p_core import ReplaySettings, TruthSource, replay
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.map_file import save_map
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.typing import Image

REPO = Path(__file__).resolve().parents[2]
CAMERA = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)


@pytest.mark.ros
@pytest.mark.slow
def test_over_dds_the_body_is_localized_wherever_either_camera_is(
    tmp_path: Path, xfeat_network: XFeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front camera faces a plain wall at moments 0 to 3, the left one at 4 to 7."""
    pytest.importorskip("rclpy")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), str(REPO / "ros2_ws/src/diff2i2p")]))
    room = make_room(20_003)
    write_frames(tmp_path / "room", room, CAMERA, camera_path(room, 30, 20_003))
    save_map(Localizer.from_frames(tmp_path / "room", range(0, 30, 3), matcher="views").map, tmp_path / "map")
    frames = PosedFrames(tmp_path / "room")
    numbers = [*range(1, 24, 3)]

    def seen(topic: str, number: int, pixels: Image) -> Image:
        return blank(FRONT, numbers[:4])(topic, number, blank(LEFT, numbers[4:])(topic, number, pixels))

    bag = write_bag(tmp_path / "bag", two_cameras(frames, numbers, 6, period=1.0, seen=seen))
    settings = ReplaySettings(
        image_topic=(FRONT, LEFT),
        base_frame="base_link",
        truth=TruthSource(topic="/gt"),
        live=True,
        rate=0.25,
    )
    result = replay(bag, tmp_path / "map", settings, out=tmp_path / "out")
    summary = result.summary
    assert summary.queries >= 5 and summary.localized == summary.queries, result.as_dict()
    assert summary.false_localizations == 0 and (summary.median_translation_m or 1) < 0.05
    shares = result.as_dict()["cameras"]
    assert 0 < shares[FRONT]["contributed"] < summary.queries
    assert shares[FRONT]["contributed"] + shares[LEFT]["contributed"] == summary.queries
    assert all(shares[topic]["body_from_camera"] is not None for topic in (FRONT, LEFT))
    assert {"camera_info_faults": 0, "image_faults": 0}.items() <= (result.node or {}).items()


@pytest.mark.slow
def test_the_office_floor_with_two_cameras(tmp_path: Path, data_dir: Path, xfeat_network: XFeat) -> None:
    """Two blocks of frames, seen by cameras two frames apart, in a map of the blocks around them."""
    frames = PosedFrames(data_dir / "hololens_office")
    of_map, queries = in_blocks([n for n in frames.numbers if n < 60], 12, 2)
    save_map(Localizer.from_frames(frames.folder, of_map, matcher="views").map, tmp_path / "map")
    bag = write_bag(tmp_path / "bag", two_cameras(frames, queries[::3], 2, period=0.2))
    settings = ReplaySettings(
        image_topic=(FRONT, LEFT), base_frame="base_link", truth=TruthSource(topic="/gt"), track=False
    )
    summary = replay(bag, tmp_path / "map", settings).summary
    assert summary.localized == summary.queries == len(queries[::3]) >= 6
    assert summary.false_localizations == 0 and (summary.median_translation_m or 1) < 0.06
