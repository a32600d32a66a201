"""Benchmark pairs: order, determinism, augmentation that keeps the truth, and real pairs of 7-Scenes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from benchmark_folder import SMALL, write_benchmark

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose, is_rigid, transform_points
from diff2i2p_core.models.config import lite_config
from diff2i2p_core.models.released import released_config
from diff2i2p_core.pairs import augmentation, neighbor_limits
from diff2i2p_core.pairs import released as released_motions
from diff2i2p_core.pairs.augmentation import MAX_ANGLE, TRANSLATION, move_cloud
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs, BenchmarkSettings
from diff2i2p_core.pairs.neighbor_limits import calibrate_neighbor_limits

MOTIONS: dict[str, Any] = {"released": released_motions, "corrected": augmentation}


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("wall"), [0.9, 0.5, 0.49, 0.6, 0.7, 0.8, 0.3])


def numbers(pairs: BenchmarkPairs, epoch: int) -> list[str]:
    return [pairs.entry(epoch * pairs.epoch_length + k).image_id[-3:] for k in range(pairs.epoch_length)]


def test_overlap_filter(wall: Path) -> None:
    assert BenchmarkPairs(BenchmarkSettings(root=wall), SMALL).epoch_length == 5
    assert BenchmarkPairs(BenchmarkSettings(root=wall, min_overlap=0.0), SMALL).epoch_length == 7
    with pytest.raises(InputError, match=r"none of the 7 pairs of 'train' has an overlap of 0\.95"):
        BenchmarkPairs(BenchmarkSettings(root=wall, min_overlap=0.95), SMALL)


def test_rgbd_scenes_v2_keeps_all_overlaps_and_limits_test_clouds(tmp_path: Path) -> None:
    root = write_benchmark(tmp_path, [0.2, 0.4], points=31000, stem="test")
    pairs = BenchmarkPairs(
        BenchmarkSettings(root=root, layout="rgbd_scenes_v2"), released_config(), "test", seed=1
    )
    assert pairs.epoch_length == 2
    cloud = pairs[1].pyramid.points[0].numpy()
    assert len(cloud) == 30000
    # The same subset in the next epoch and whatever the seed, in the frame of the file.
    other = BenchmarkPairs(pairs.settings, pairs.config, "test", seed=2)
    np.testing.assert_array_equal(other[3].pyramid.points[0].numpy(), cloud)
    stored = np.load(root / "data" / pairs.entry(1).cloud_file).astype(np.float32)
    assert {tuple(p) for p in cloud.tolist()} < {tuple(p) for p in stored.tolist()}


def test_training_is_shuffled_each_epoch_and_testing_is_not(wall: Path) -> None:
    settings = BenchmarkSettings(root=wall, validation="train", test="train")
    train = BenchmarkPairs(settings, SMALL, seed=3)
    kept = ["000", "001", "003", "004", "005"]
    epochs = [numbers(train, epoch) for epoch in range(6)]
    assert all(sorted(epoch) == kept for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3
    assert [numbers(BenchmarkPairs(settings, SMALL, seed=3), epoch) for epoch in range(6)] == epochs
    assert numbers(BenchmarkPairs(settings, SMALL, seed=4), 0) != epochs[0]
    assert numbers(BenchmarkPairs(settings, SMALL, "test", seed=3), 1) == kept
    assert numbers(BenchmarkPairs(settings, SMALL, "validation", seed=3), 2) == kept


def test_a_pair_depends_on_seed_and_number_alone(wall: Path) -> None:
    settings = BenchmarkSettings(root=wall)
    first, second = (BenchmarkPairs(settings, SMALL, seed=5) for _ in range(2))
    first[0], first[1]
    a, b = first[7], second[7]
    np.testing.assert_array_equal(a.pyramid.points[0].numpy(), b.pyramid.points[0].numpy())
    np.testing.assert_array_equal(a.camera_from_cloud, b.camera_from_cloud)
    assert (a.index, a.name) == (7, f"wall/{second.entry(7).image_id}_{second.entry(7).cloud_id}")
    # The same entry in another epoch is augmented differently, while its image stays the same.
    again = next(n for n in range(10, 15) if first.entry(n) is first.entry(7))
    assert not np.allclose(first[again].camera_from_cloud, a.camera_from_cloud)
    assert first[again].image_key == a.image_key == f"7scenes/{first.entry(7).image_file}@48"
    assert (first[again].rgb == a.rgb).all()


@pytest.mark.parametrize("kind", ["released", "corrected"])
def test_augmented_clouds_keep_their_pixels(kind: str) -> None:
    rng = np.random.default_rng(0)
    camera = Camera(640, 480, 585, 585, 320, 240)
    cloud = (rng.uniform(-1, 1, (500, 3)) + np.array([5, -3, 2])).astype(np.float32)
    camera_from_cloud = compose(augmentation.random_rotation(rng), [-5.0, 3.0, 1.0])
    moved, camera_from_moved = move_cloud(cloud, camera_from_cloud, MOTIONS[kind].random_motion, rng)
    assert is_rigid(camera_from_moved, 1e-9)
    before, after = transform_points(camera_from_cloud, cloud), transform_points(camera_from_moved, moved)
    # Noise of up to 2.5 mm a coordinate, and nothing else.
    assert 2e-3 < np.abs(after - before).max() < 2.5e-3 * np.sqrt(3)
    assert (
        np.abs(camera.project(after)[0] - camera.project(before)[0]).max() < 585 * 0.005 / before[:, 2].min()
    )
    # About the centroid: it moves by the translation alone.
    shift = np.abs(moved.mean(0) - cloud.mean(0))
    assert 0 < shift.max() < 4 * TRANSLATION


def test_distribution_of_the_augmentation() -> None:
    """Released axes crowd about z: |cos| of a uniform angle has mean 2/pi, on the sphere 1/2."""
    rng = np.random.default_rng(0)
    vertical, angles, shifts = {}, {}, {}
    for kind in ("released", "corrected"):
        turns = [MOTIONS[kind].random_rotation(rng) for _ in range(3000)]
        vectors = np.array([[r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]] for r in turns]) / 2
        sines = np.linalg.norm(vectors, axis=1)
        vertical[kind] = np.abs(vectors[:, 2] / sines).mean()
        angles[kind] = np.arcsin(sines)
        shifts[kind] = np.array([MOTIONS[kind].random_translation(rng) for _ in range(3000)])
    assert vertical["released"] == pytest.approx(2 / np.pi, abs=0.02)
    assert vertical["corrected"] == pytest.approx(0.5, abs=0.02)
    for kind in ("released", "corrected"):
        assert angles[kind].max() <= MAX_ANGLE < np.radians(10.4)
        assert angles[kind].mean() == pytest.approx(MAX_ANGLE / 2, rel=0.05)
    assert shifts["released"].std() == pytest.approx(TRANSLATION, rel=0.05)
    assert 0.99 * TRANSLATION < np.abs(shifts["corrected"]).max() <= TRANSLATION


def test_broken_files_and_unfit_networks(tmp_path: Path) -> None:
    root = write_benchmark(tmp_path, [0.9])
    folder = root / "data" / "wall" / "seq-01"
    with pytest.raises(InputError, match=r"have no rgb; set model\.point_features to geometry"):
        BenchmarkPairs(BenchmarkSettings(root=root), lite_config("rgb"))
    pairs = BenchmarkPairs(BenchmarkSettings(root=root), SMALL)
    whole = (folder / "cloud_000.npy").read_bytes()
    for content, message in (
        (np.zeros((4, 2)), "not an .N, 3. array"),
        (np.zeros((0, 3)), "no points"),
        (np.full((4, 3), np.nan), "not finite"),
        (np.array([{}, 1]), "not a complete .npy file"),
    ):
        np.save(folder / "cloud_000.npy", content)
        with pytest.raises(InputError, match=message):
            pairs[0]
    (folder / "cloud_000.npy").write_bytes(whole[:-8])
    with pytest.raises(InputError, match=r"cloud_000.npy: not a complete"):
        pairs[0]
    (folder / "cloud_000.npy").write_bytes(whole)
    (root / "data" / "wall" / "camera-intrinsics.txt").write_text("1 2 3")
    with pytest.raises(InputError, match=r"camera-intrinsics\.txt: not a 3x3"):
        pairs[0]
    cv2.imwrite(str(folder / "depth_000.png"), np.full((24, 32), 2000, np.uint16))
    with pytest.raises(InputError, match=r"depth_000\.png: 32x24, but its image is 64x48"):
        pairs[0]
    (folder / "depth_000.png").unlink()
    with pytest.raises(InputError, match="1 of 3 files of the subset are missing"):
        BenchmarkPairs(BenchmarkSettings(root=root), SMALL)


@pytest.fixture(scope="module")
def kitchen(data_dir: Path) -> BenchmarkSettings:
    return BenchmarkSettings(root=data_dir / "7scenes_mini", augmentation="released")


@pytest.mark.parametrize("network", ["released", "lite"])
def test_real_clouds_lie_on_the_depth_image(kitchen: BenchmarkSettings, network: str) -> None:
    config = released_config() if network == "released" else lite_config("geometry")
    for role, n in (("train", 2), ("test", 5)):
        pair = BenchmarkPairs(kitchen, config, role)[n]  # type: ignore[arg-type]
        camera = pair.camera
        assert pair.image.shape[-2:] == ((480, 640) if network == "released" else (240, 320))
        in_camera = transform_points(pair.camera_from_cloud, pair.pyramid.points[0].numpy())
        pixels, z = camera.project(in_camera)
        inside = camera.contains(pixels, z)
        assert inside.mean() > 0.3
        columns, rows = np.rint(pixels[inside]).astype(int).T
        folder = kitchen.root / "data"
        raw = cv2.imread(
            str(folder / BenchmarkPairs(kitchen, config, role).entry(n).depth_file),  # type: ignore[arg-type]
            cv2.IMREAD_UNCHANGED,
        )
        assert raw is not None
        step = 480 // camera.height
        depth = raw[rows * step, columns * step] / 1000
        known = (depth > 0) & (depth < 6)
        assert np.median(np.abs(z[inside][known] - depth[known])) < 0.03
        assert pair.targets.overlap > 0.4


def test_the_released_sample(kitchen: BenchmarkSettings, golden_dir: Path) -> None:
    """Image, depth, camera and cloud of one pair as the released loader gives them."""
    test = BenchmarkPairs(kitchen, released_config(), "test")
    n = next(n for n in range(test.epoch_length) if test.entry(n).name == "redkitchen/01-000587_01-000675")
    pair = test[n]
    with np.load(golden_dir / "train_inputs_A.npz") as golden:
        np.testing.assert_allclose(pair.image[0], golden["image"], atol=1e-4)
        assert pair.image_points is not None
        depth = np.where(golden["depth"] <= 6000, golden["depth"], 0) / 1000
        np.testing.assert_allclose(pair.image_points[0, 2], depth[0], atol=1e-6)
        np.testing.assert_allclose(pair.camera.matrix, golden["intrinsics"])
        released = transform_points(golden["transform"], golden["points_0"])
    ours = transform_points(pair.camera_from_cloud, pair.pyramid.points[0].numpy())
    # The golden cloud was moved and given noise of 2.5 mm a coordinate.
    assert np.abs(released - ours).max() < 2.5e-3 * np.sqrt(3)
    with np.load(golden_dir / "eval_inputs_A.npz") as golden:
        np.testing.assert_array_equal(pair.pyramid.points[0], golden["points_0"])
        np.testing.assert_allclose(pair.camera_from_cloud, golden["transform"], atol=1e-6)
        assert [len(points) for points in pair.pyramid.points] == [
            len(golden[f"points_{i}"]) for i in range(4)
        ]


def test_neighbor_limits_of_a_row_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points every 2 cm of which 3 lie within 6.25 cm to either side; of 100 in 12.5 cm, 6."""
    row = torch.arange(100)[:, None] * torch.tensor([[0.02, 0, 0]])
    source = Rows([row, row])
    assert calibrate_neighbor_limits(source, 0.025) == (7, 13)
    assert source.taken == 10  # an epoch is over before 5000 points are found
    monkeypatch.setattr(neighbor_limits, "SAMPLES", 250)
    source = Rows([row, row])
    calibrate_neighbor_limits(source, 0.025)
    assert source.taken == 3


class Rows:
    """Pairs of which only the pyramid's points are asked for."""

    epoch_length = 10

    def __init__(self, levels: list[torch.Tensor]) -> None:
        self.levels, self.taken = levels, 0

    def __getitem__(self, n: int) -> Any:
        self.taken = n + 1
        return SimpleNamespace(pyramid=SimpleNamespace(points=self.levels))


def test_neighbor_limits_of_real_clouds(kitchen: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The released calibration on 24 pairs of the same recording gave 51, 42, 41, 40."""
    monkeypatch.setattr(neighbor_limits, "SAMPLES", 2000)
    released = released_config()
    small_images = released.model_copy(update={"image": released.image.model_copy(update={"height": 120})})
    limits = calibrate_neighbor_limits(BenchmarkPairs(kitchen, small_images), 0.025)
    np.testing.assert_allclose(limits, (51, 42, 41, 40), atol=2)
