"""KITTI odometry as downloaded: clouds of lidar scans, sparse depth up to 60 m, split by sequence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from raw_layouts import CAMERA, png, recording

from diff2i2p_core.datasets.check import check_set
from diff2i2p_core.datasets.kitti import SOURCE, kitti
from diff2i2p_core.datasets.prepare import prepare
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.protocol import at_all_thresholds, find_protocol
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.models.config import ModelConfig, lite_config
from diff2i2p_core.pairs.augmentation import GROUND_SHIFT, ground_motion
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs, BenchmarkSettings
from diff2i2p_core.pairs.benchmarks import BENCHMARKS, depth_limit

SCALE = 5
"""The hall is enlarged to a street: depth from 8 to 20 m."""
LEFT_FROM_LIDAR = compose(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), [0.01, -0.08, -0.27])
CAMERA_FROM_LEFT = compose(np.eye(3), [0.06, 0.002, 0.003])
SETTINGS = SOURCE.settings.model_copy(update={"window": 5, "voxel": 0.25, "gap": 5, "val": 0.2})


def write_sequence(root: Path, name: str, count: int = 60) -> None:
    """A lidar that sees a quarter of each frame's pixels, and something 5 m behind the camera."""
    rng = np.random.default_rng(0)
    folder = root / "sequences" / name
    for part in ("image_2", "velodyne"):
        (folder / part).mkdir(parents=True)
    projection = CAMERA.matrix @ CAMERA_FROM_LEFT[:3]
    lines = {"P0": CAMERA.matrix @ np.eye(3, 4), "P2": projection, "Tr": LEFT_FROM_LIDAR[:3]}
    (folder / "calib.txt").write_text(
        "".join(f"{key}: {' '.join(map(repr, rows.ravel().tolist()))}\n" for key, rows in lines.items())
    )
    poses = []
    for frame in recording(count):
        pose = compose(frame.world_from_camera[:3, :3], SCALE * frame.world_from_camera[:3, 3])
        poses.append((pose @ CAMERA_FROM_LEFT)[:3].ravel())
        seen = back_project(frame.depth * SCALE, CAMERA)[rng.random(frame.depth.shape) < 0.25]
        behind = np.array([[x, 0, -5] for x in np.linspace(-1, 1, 50)])
        points = transform_points(
            invert(CAMERA_FROM_LEFT @ LEFT_FROM_LIDAR), np.concatenate([seen[seen[:, 2] > 0], behind])
        )
        scan = np.concatenate([points, np.ones((len(points), 1))], 1).astype(np.float32)
        scan.tofile(folder / "velodyne" / f"{frame.number:06d}.bin")
        (folder / "image_2" / f"{frame.number:06d}.png").write_bytes(png(frame.image))
    (root / "poses").mkdir(exist_ok=True)
    np.savetxt(root / "poses" / f"{name}.txt", poses)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    for name in ("00", "09"):
        write_sequence(root / "dataset", name)
    (root / "dataset" / "sequences" / "11").mkdir()  # without published poses
    return root


@pytest.fixture(scope="module")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set")
    dataset = prepare("kitti", lambda _: kitti(raw), out, SETTINGS, layout="kitti")
    assert set(dataset.scenes) == {"kitti-00", "kitti-09"}
    assert all(counts["pairs"] > 0 for counts in dataset.subsets.values())
    assert dataset.scenes["kitti-09"]["test_pairs"] == dataset.subsets["test"]["pairs"]
    return out


def test_a_frame_has_the_scans_depth_where_the_camera_sees_it(raw: Path) -> None:
    sequence = kitti(raw)[0]
    source = recording(60)[7]
    np.testing.assert_allclose(sequence.camera.matrix, CAMERA.matrix)
    assert (sequence.camera.width, sequence.camera.height) == (CAMERA.width, CAMERA.height)
    frame = sequence.frame(7)
    known = frame.depth > 0
    assert 0.2 < known.mean() < 0.3
    np.testing.assert_allclose(frame.depth[known], SCALE * source.depth[known], atol=1e-3)
    np.testing.assert_allclose(
        frame.world_from_camera[:3, 3], SCALE * source.world_from_camera[:3, 3], atol=1e-9
    )
    assert (sequence.scan(7)[:, 2] < 0).sum() == 50


def test_the_set_is_valid_and_its_depth_counts_beyond_six_metres(prepared: Path) -> None:
    assert check_set(prepared, sample=5).problems == []
    assert depth_limit(prepared, "kitti") == 60
    config = kitti_config()
    pairs = BenchmarkPairs(BenchmarkSettings(root=prepared), config, "test")
    pair = pairs[0]
    assert pair.targets.pixel_points[:, 2].max() > 8 and pair.targets.overlap > 0.5
    in_camera = transform_points(pair.camera_from_cloud, pair.pyramid.points[0].numpy())
    assert in_camera[:, 2].min() < -4  # a scan is also of what is behind the camera
    near = BenchmarkPairs(BenchmarkSettings(root=prepared, max_depth=6), config, "test")[0]
    assert not near.targets.known.any()


def kitti_config() -> ModelConfig:
    config = lite_config("geometry")
    return config.model_copy(
        update={
            "image": config.image.model_copy(update={"height": CAMERA.height}),
            "points": config.points.model_copy(update={"voxel": 0.25}),
        }
    )


def test_clouds_are_turned_and_moved_on_the_ground(prepared: Path) -> None:
    plain = BenchmarkSettings(root=prepared, layout="kitti")
    moved = plain.model_copy(update={"augmentation": "ground"})
    still, first, again = (
        BenchmarkPairs(settings, kitti_config(), "test")[0] for settings in (plain, moved, moved)
    )
    np.testing.assert_array_equal(first.camera_from_cloud, again.camera_from_cloud)
    apart = invert(still.camera_from_cloud) @ first.camera_from_cloud
    np.testing.assert_allclose(apart[:3, :3] @ [0, 1, 0], [0, 1, 0], atol=1e-9)
    training = [BenchmarkPairs(moved, kitti_config(), "train")[n].camera_from_cloud for n in range(8)]
    angles = [np.arctan2(pose[0, 2], pose[2, 2]) for pose in training]
    assert np.ptp(angles) > 1.5
    # The cloud has moved with its pose: the same pixels see it.
    assert first.targets.overlap == pytest.approx(still.targets.overlap, abs=0.1)
    for seed in range(20):
        shift = ground_motion(np.random.default_rng(seed))[:3, 3]
        assert shift[1] == 0 and np.abs(shift).max() <= GROUND_SHIFT


def test_its_protocol_is_that_of_poses() -> None:
    protocol = find_protocol("kitti")
    assert at_all_thresholds(protocol) == [protocol]
    assert (protocol.rre_deg, protocol.rte_m) == (5, 2)
    assert [p.name for p in at_all_thresholds(find_protocol("7scenes"))] == ["7scenes", "rgbd_scenes_v2"]
    assert BENCHMARKS["kitti"].max_depth == 60 and not BENCHMARKS["kitti"].pairs


def test_broken_downloads_are_one_line(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no sequences/NN; give the folder of KITTI odometry"):
        kitti(tmp_path)
    write_sequence(tmp_path, "03", 3)
    sequence = kitti(tmp_path)[0]
    (tmp_path / "sequences/03/velodyne/000001.bin").write_bytes(b"123")
    with pytest.raises(InputError, match=r"000001\.bin: not a scan"):
        sequence.scan(1)
    (tmp_path / "poses/03.txt").write_text("1 2 3\n")
    other = tmp_path / "poses" / "other.txt"
    other.write_text("1 2 3\n")
    with pytest.raises(InputError, match=r"other\.txt: not lines of twelve numbers"):
        replace(sequence, pose_file=other).world_from_camera(0)
    other.unlink()
    with pytest.raises(InputError, match=r"other\.txt: not lines of twelve numbers"):
        replace(sequence, pose_file=other).world_from_camera(0)
    folder = tmp_path / "sequences" / "04"
    (folder / "image_2").mkdir(parents=True)
    (tmp_path / "poses/04.txt").write_text("")
    with pytest.raises(InputError, match=r"04: no number has both"):
        kitti(tmp_path)
    (folder / "calib.txt").write_text("P2: 1 2 3\n")
    with pytest.raises(InputError, match=r"calib\.txt: has no lines P2 and Tr"):
        replace(sequence, folder=folder).world_from_camera(0)
