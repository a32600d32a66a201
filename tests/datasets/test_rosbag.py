"""Bags to posed frames and pairs, and faults of bags."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import PERIOD, START, Sent, image, robot, tf, transform, write_bag, write_ros1_bag
from raw_layouts import CAMERA, recording
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.datasets import rosbag
from diff2i2p_core.datasets.rosbag import export_bag, left_out
from diff2i2p_core.datasets.rosbag_topics import BagTopics
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.pairs.metadata import read_metadata

FRAMES = recording(6)


def prepare(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["prepare", *(str(a) for a in arguments)])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("mcap", [True, False])
def test_a_bag_gives_the_pairs_of_its_folder(data_dir: Path, tmp_path: Path, mcap: bool) -> None:
    """A part of fr3_teddy, as a folder and as a bag of compressed images, depth, camera_info and tf."""
    source, folder = data_dir / "tum_fr3_teddy", tmp_path / "teddy"
    folder.mkdir()
    shutil.copy(source / "camera-intrinsics.txt", folder)
    teddy = PosedFrames(source)
    for place, number in enumerate(teddy.numbers[:12]):
        for part in ("color.jpg", "depth.png", "pose.txt"):
            shutil.copy(source / f"frame-{number:06d}.{part}", folder / f"frame-{place:06d}.{part}")
    frames = [teddy[index] for index in range(12)]
    jpegs = [(source / f"frame-{frame.number:06d}.color.jpg").read_bytes() for frame in frames]
    bag = write_bag(tmp_path / "bag" / "teddy", robot(frames, teddy.camera, jpegs=jpegs), mcap=mcap)
    options = ("--window", 2, "--gap", 0, "--voxel", 0.05, "--processes", 1)
    prepare("frames", folder, tmp_path / "a", *options)
    assert "12 frames" in prepare("rosbag", bag, tmp_path / "b", *options)
    for subset in ("train", "val", "test"):
        of_folder = read_metadata(tmp_path / "a", "7scenes", subset)
        of_bag = read_metadata(tmp_path / "b", "7scenes", subset)
        assert [entry.name for entry in of_bag] == [entry.name for entry in of_folder]
        for a, b in zip(of_folder, of_bag, strict=True):
            np.testing.assert_allclose(b.camera_from_cloud, a.camera_from_cloud, atol=1e-6)
            assert abs(a.overlap - b.overlap) < 0.003
            for name in (a.image_file, a.depth_file):
                assert (tmp_path / "a/data" / name).read_bytes() == (tmp_path / "b/data" / name).read_bytes()


@pytest.mark.parametrize("depth", ["16UC1", "32FC1", "png", "cloud"])
def test_depth_of_every_kind(tmp_path: Path, depth: str) -> None:
    bag = write_bag(tmp_path / "bag", robot(FRAMES, CAMERA, depth=depth))
    frames = PosedFrames(export_bag(bag, tmp_path / "frames", BagTopics()))
    assert frames.numbers == [0, 1, 2, 3, 4, 5]
    for index, truth in enumerate(FRAMES):
        np.testing.assert_array_equal(frames[index].image, truth.image)
        np.testing.assert_allclose(frames[index].world_from_camera, truth.world_from_camera, atol=1e-6)
        same = np.abs(frames[index].depth - truth.depth) < 0.0011
        # A cloud is drawn into the image again: a pixel at an edge may take its neighbour's point.
        assert same.mean() > (0.97 if depth == "cloud" else 0.9999)


def test_poses_are_interpolated_at_the_images_stamp(tmp_path: Path) -> None:
    """Poses are 5 ms before and after each image; the camera moves evenly, so interpolation is exact."""
    sent = [s for s in robot(FRAMES, CAMERA) if s.topic != "/tf"]
    for place in range(-2, 14):
        at = START + place * PERIOD // 2 + 5_000_000
        pose = FRAMES[0].world_from_camera.copy()
        pose[0, 3] += 0.02 * (at - START) / PERIOD
        sent.append(Sent("/tf", at, tf(transform(at, "map2", "camera2", pose))))
    sent += [
        Sent("/tf_static", START, tf(transform(0, "camera2", "lens", np.eye(4)))),
    ]
    sent = [s for s in sent if "image_raw" not in s.topic] + [
        Sent(s.topic, s.stamp, image(s.stamp, "lens", f.image, "rgb8"))
        for f, s in zip(FRAMES, [s for s in sent if s.topic == "/camera/color/image_raw"], strict=True)
    ]
    sent += [
        Sent("/camera/depth/image", START + n * PERIOD, image(START + n * PERIOD, "lens", f.depth, "32FC1"))
        for n, f in enumerate(FRAMES)
    ]
    frames = PosedFrames(export_bag(write_bag(tmp_path / "bag", sent), tmp_path / "frames", BagTopics()))
    assert len(frames) == 6
    for index, truth in enumerate(FRAMES):
        found = frames[index].world_from_camera
        assert translation_error(found, truth.world_from_camera) < 1e-5
        assert rotation_error_deg(found, truth.world_from_camera) < 1e-4


def test_a_pose_topic_goes_before_tf(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot(FRAMES, CAMERA, poses="pose"))
    frames = PosedFrames(export_bag(bag, tmp_path / "frames", BagTopics(pose="/pose")))
    np.testing.assert_allclose(frames[3].world_from_camera, FRAMES[3].world_from_camera, atol=1e-6)


def test_lens_distortion_is_removed(tmp_path: Path) -> None:
    lens = Camera(160, 120, 131.25, 131.25, 79.5, 59.5, "plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0))
    bag = write_bag(tmp_path / "bag", robot(FRAMES[:2], lens))
    frames = PosedFrames(export_bag(bag, tmp_path / "frames", BagTopics()))
    np.testing.assert_allclose(frames[0].image, lens.rectify(FRAMES[0].image))
    # The nearest pixel's depth equals the bilinear mean on surfaces; at edges it mixes none.
    smooth = np.abs(frames[0].depth - lens.rectify(FRAMES[0].depth)) < 0.02
    assert smooth.mean() > 0.9 and not smooth.all()
    kept = frames[0].depth[frames[0].depth > 0]
    assert np.isin(np.rint(kept * 1000), np.rint(FRAMES[0].depth * 1000)).all()


def test_every_second_image_and_missing_depth(tmp_path: Path) -> None:
    sent = robot(FRAMES, CAMERA)
    gone = START + 4 * PERIOD + 2_000_000
    sent = [s for s in sent if (s.topic, s.stamp) != ("/camera/depth/image_raw", gone)]
    bag = write_bag(tmp_path / "bag", sent)
    folder = export_bag(bag, tmp_path / "frames", BagTopics(every=2))
    assert PosedFrames(folder).numbers == [0, 2]
    assert left_out(folder) == {"no depth": 1}


def test_a_bag_of_ros1_gives_the_same_frames(tmp_path: Path) -> None:
    lens = Camera(160, 120, 131.25, 131.25, 79.5, 59.5, "plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0))
    for kind in ("16UC1", "cloud"):
        sent = robot(FRAMES[:3], lens, depth=kind)
        new = PosedFrames(export_bag(write_bag(tmp_path / kind, sent), tmp_path / f"{kind}2", BagTopics()))
        bag = write_ros1_bag(tmp_path / f"{kind}.bag", sent)
        old = PosedFrames(export_bag(bag, tmp_path / f"{kind}1", BagTopics()))
        assert old.camera == new.camera and len(old) == 3
        for index in range(3):
            np.testing.assert_array_equal(old[index].image, new[index].image)
            np.testing.assert_array_equal(old[index].depth, new[index].depth)
            np.testing.assert_array_equal(old[index].world_from_camera, new[index].world_from_camera)


def test_images_of_another_calibration_are_left_out(tmp_path: Path) -> None:
    """A folder has one camera: that of most images."""
    sent = robot(FRAMES, CAMERA)
    infos = [s.content for s in sent if s.topic == "/camera/color/camera_info"]
    infos[0].k = infos[0].k * 0
    infos[3].k = infos[3].k * np.array([1.1, 1, 1, 1, 1.1, 1, 1, 1, 1])
    folder = export_bag(write_bag(tmp_path / "bag", sent), tmp_path / "frames", BagTopics())
    assert PosedFrames(folder).numbers == [1, 2, 4, 5] and PosedFrames(folder).camera == CAMERA
    assert left_out(folder) == {"no calibration": 1, "another calibration": 1}


def test_a_mosaic_in_a_jpeg_is_not_kept_as_it_is(tmp_path: Path) -> None:
    jpegs = [cv2.imencode(".jpg", np.full((120, 160), 90, np.uint8))[1].tobytes()] * 6
    sent = robot(FRAMES, CAMERA, jpegs=jpegs)
    for content in (s.content for s in sent if s.topic.endswith("/compressed")):
        content.format = "bayer_rggb8; jpeg compressed bayer_rggb8"
    folder = export_bag(write_bag(tmp_path / "bag", sent), tmp_path / "frames", BagTopics())
    assert len(list(folder.glob("*.color.png"))) == 6 and not list(folder.glob("*.color.jpg"))


def failing(bag: Path, tmp_path: Path, **topics: Any) -> str:
    """The one line about an unusable bag; nothing is left that looks complete."""
    with pytest.raises(InputError) as caught:
        export_bag(bag, tmp_path / "frames", BagTopics(**topics))
    assert not (tmp_path / "frames").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_bag(tmp_path: Path) -> None:
    assert "holds no message" in failing(write_bag(tmp_path / "bag", []), tmp_path)
    sqlite = write_bag(tmp_path / "sqlite", [], mcap=False)
    assert "holds no message" in failing(sqlite, tmp_path)


def test_files_that_are_not_bags(tmp_path: Path) -> None:
    assert "not a bag; give a folder with metadata.yaml" in failing(tmp_path, tmp_path)
    assert "not a bag; give a folder with metadata.yaml" in failing(tmp_path / "nothing", tmp_path)
    for content in (b"", b"nothing of the kind" * 100):
        (tmp_path / "a.bag").write_bytes(content)
        message = failing(tmp_path / "a.bag", tmp_path)
        assert "cannot be read as a bag" in message and "or try `rosbag reindex`" in message
    (tmp_path / "a.mcap").write_bytes(b"nothing of the kind" * 100)
    assert "cannot be read as a bag" in failing(tmp_path / "a.mcap", tmp_path)
    (tmp_path / "a.db3").write_bytes(b"nothing of the kind" * 100)
    assert "cannot be read as a bag" in failing(tmp_path / "a.db3", tmp_path)


def cut(bag: Path, fraction: float) -> Path:
    """Cut the end off the bag's file."""
    (data,) = [path for path in bag.iterdir() if path.suffix in (".mcap", ".db3")]
    data.write_bytes(data.read_bytes()[: int(data.stat().st_size * fraction)])
    return bag


def test_half_an_mcap_gives_half_the_frames(tmp_path: Path) -> None:
    bag = cut(write_bag(tmp_path / "bag", robot(FRAMES, CAMERA)), 0.5)
    out = prepare("rosbag", bag, tmp_path / "out", "--frames-only")
    assert "3 frames" in out and "bag.mcap has no end; it is read up to its last whole message" in out
    message = failing(cut(bag, 0.01), tmp_path)
    assert "has no colour image topic; record one, or give its name (bag.mcap has no end" in message


def test_half_a_database(tmp_path: Path) -> None:
    bag = cut(write_bag(tmp_path / "bag", robot(FRAMES, CAMERA), mcap=False), 0.5)
    assert "cannot be read as a bag" in failing(bag, tmp_path)


def test_missing_transforms(tmp_path: Path) -> None:
    sent = robot(FRAMES, CAMERA)
    no_tf = write_bag(tmp_path / "a", [s for s in sent if s.topic not in ("/tf", "/tf_static")])
    assert "no transform leads to camera, the camera's frame; record /tf" in failing(no_tf, tmp_path)
    gap = write_bag(tmp_path / "b", [s for s in sent if s.topic != "/tf_static"])
    assert "no transform leads to camera" in failing(gap, tmp_path)
    whole = write_bag(tmp_path / "c", sent)
    assert "no transform connects earth and camera" in failing(whole, tmp_path, world="earth")
    late = [s if s.topic != "/tf" else Sent("/tf", s.stamp, later(s.content)) for s in sent]
    message = failing(write_bag(tmp_path / "d", late), tmp_path)
    assert "none of 6 images can be used: 6 have no pose at their time" in message


def later(message: Any) -> Any:
    (item,) = message.transforms
    item.header.stamp.sec += 100
    return message


def test_times_out_of_order(tmp_path: Path) -> None:
    sent = robot(FRAMES, CAMERA)
    images = [s for s in sent if s.topic == "/camera/color/image_raw"]
    images[3].content.header.stamp.sec -= 5
    images[4].content.header.stamp = images[2].content.header.stamp
    out = prepare("rosbag", write_bag(tmp_path / "b", sent), tmp_path / "out", "--frames-only")
    assert "4 frames" in out and "/camera/color/image_raw: 2 of 6 messages left out, because their" in out
    for sent_image in images:
        sent_image.content.header.stamp.sec = sent_image.content.header.stamp.nanosec = 0
    assert "all its stamps are 0" in failing(write_bag(tmp_path / "zero", sent), tmp_path)


def test_transforms_out_of_order(tmp_path: Path) -> None:
    sent = robot(FRAMES, CAMERA)
    transforms = [s for s in sent if s.topic == "/tf"]
    transforms[4].content.transforms[0].header.stamp.sec -= 5
    message = failing(write_bag(tmp_path / "bag", sent), tmp_path)
    assert "the stamps of odom -> base_link go back by 5.0 s" in message


def test_topics_that_are_missing_or_many(tmp_path: Path) -> None:
    sent = robot(FRAMES, CAMERA)
    second = [
        Sent("/rear/image_raw", s.stamp, s.content) for s in sent if s.topic == "/camera/color/image_raw"
    ]
    bag = write_bag(tmp_path / "a", [*sent, *second])
    assert "several colour image topics; name one of /camera/color/image_raw, /rear" in failing(bag, tmp_path)
    assert "/front: no such colour image topic" in failing(bag, tmp_path, image="/front")
    no_depth = write_bag(tmp_path / "b", [s for s in sent if "depth" not in s.topic])
    assert "has no depth image or cloud topic; record one" in failing(no_depth, tmp_path)
    no_info = write_bag(tmp_path / "c", [s for s in sent if "camera_info" not in s.topic])
    assert "no /camera/color/camera_info for /camera/color/image_raw" in failing(no_info, tmp_path)


def test_a_full_disk_leaves_no_folder_and_a_second_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag, out = write_bag(tmp_path / "bag", robot(FRAMES, CAMERA)), tmp_path / "out"
    original = rosbag._Writer.write
    written: list[Any] = []

    def full(self: Any, frame: Any, *rest: Any) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(frame)
        original(self, frame, *rest)

    monkeypatch.setattr(rosbag._Writer, "write", full)
    with pytest.raises(InputError, match="out: the disk is full"):
        prepare("rosbag", bag, out, "--frames-only")
    assert not (out / "frames").exists()
    monkeypatch.undo()
    kept = {path.name: path.stat().st_mtime_ns for path in (out / ".frames.part").glob("*.pose.txt")}
    assert len(kept) == 3
    assert "6 frames" in prepare("rosbag", bag, out, "--frames-only")
    assert {name: (out / "frames" / name).stat().st_mtime_ns for name in kept} == kept
    assert not (out / "dataset.json").exists()
    with pytest.raises(InputError, match="is from another bag or other topics"):
        prepare("rosbag", bag, out, "--frames-only", "--every", 2)
