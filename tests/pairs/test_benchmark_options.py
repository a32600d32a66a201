"""Options of benchmark pairs: scenes, points, enlarged images, true correspondences."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_folder import SMALL, write_benchmark
from pydantic import ValidationError

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.models.image_branch import image_grid, pixel_centres
from diff2i2p_core.models.released import released_config
from diff2i2p_core.pairs import augmentation
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs, BenchmarkSettings
from diff2i2p_core.pairs.targets import MATCHINGS, positive_pixels, positive_radius


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("wall"), [0.9, 0.6, 0.7])


def write_scenes(root: Path) -> Path:
    """Two pairs of the scene wall, and one of the same files under the name room."""
    write_benchmark(root, [0.9, 0.8, 0.7])
    listed = root / "metadata" / "train-full.pkl"
    entries = pickle.loads(listed.read_bytes())
    entries[2]["scene_name"] = "room"
    for subset in ("train", "val", "test"):
        (root / "metadata" / f"{subset}-full.pkl").write_bytes(pickle.dumps(entries))
    return root


def test_chosen_scenes(tmp_path: Path) -> None:
    root = write_scenes(tmp_path)

    def scenes(role: Any, **changes: Any) -> list[str]:
        pairs = BenchmarkPairs(BenchmarkSettings(root=root, **changes), SMALL, role)
        return sorted(entry.scene for entry in pairs.entries)

    assert scenes("train") == scenes("test") == ["room", "wall", "wall"]
    single: dict[str, Any] = {"scenes": ("wall",)}
    assert [scenes(role, **single) for role in ("train", "validation", "test")] == [["wall", "wall"]] * 3
    unseen: dict[str, Any] = {"scenes": ("wall",), "test_scenes": ("room",)}
    assert scenes("train", **unseen) == ["wall", "wall"]
    assert scenes("validation", **unseen) == scenes("test", **unseen) == ["room"]
    settings = BenchmarkSettings(root=root, **unseen)
    assert (settings.test_name, BenchmarkSettings(root=root).test_name) == ("test-room", "test")
    with pytest.raises(InputError, match=r"'train' has no scene 'hall'; it has room, wall"):
        scenes("train", scenes=("hall",))


def test_training_clouds_without_a_limit(tmp_path: Path) -> None:
    root = write_benchmark(tmp_path, [0.9], points=30500)
    sizes = [
        len(BenchmarkPairs(BenchmarkSettings(root=root, max_points=limit), released_config())[0].features)
        for limit in (30000, None)
    ]
    assert sizes == [30000, 30500]


def test_test_clouds_have_a_limit_of_their_own(tmp_path: Path) -> None:
    root = write_benchmark(tmp_path, [0.9], points=3000)
    settings = BenchmarkSettings(root=root, test_points=700, max_points=900, validation="train", test="train")
    sizes = {
        role: len(BenchmarkPairs(settings, released_config(), role)[0].features)
        for role in ("train", "validation", "test")
    }
    assert sizes == {"train": 900, "validation": 700, "test": 700}


def test_half_of_the_training_images_are_enlarged(wall: Path) -> None:
    settings = BenchmarkSettings(root=wall, augmentation="none", scale_augmentation=1.2, test="train")
    enlarged = BenchmarkPairs(settings, SMALL, seed=1)
    plain = BenchmarkPairs(BenchmarkSettings(root=wall, augmentation="none"), SMALL, seed=1)
    zooms = []
    for n in range(30):
        pair, before = enlarged[n], plain[n]
        zooms.append(pair.camera.fx / before.camera.fx)
        assert (pair.image_key is None) == (zooms[-1] > 1) == (not torch.equal(pair.rgb, before.rgb))
        np.testing.assert_array_equal(pair.camera_from_cloud, before.camera_from_cloud)
    assert 8 < sum(zoom == 1 for zoom in zooms) < 22
    assert 1.15 < max(zooms) <= 1.2
    assert BenchmarkPairs(settings, SMALL, "test")[1].camera == plain[0].camera
    with pytest.raises(ValidationError):  # nothing of the scene would be left
        BenchmarkSettings(root=wall, scale_augmentation=100)


def test_enlarged_images_show_each_ray_at_its_new_pixel() -> None:
    camera = Camera(64, 48, 60, 55, 30, 25)
    columns, rows = np.meshgrid(np.arange(64), np.arange(48))
    image = np.stack([3 * columns, 4 * rows, columns + rows], axis=2).astype(np.uint8)
    depth = (2 + columns).astype(np.float32)
    larger, larger_depth, zoomed = augmentation.enlarge(image, depth, camera, 1.5)
    assert (larger.shape, larger_depth.shape, zoomed.fx) == (image.shape, depth.shape, 90)
    rays_u, rays_v = (columns - zoomed.cx) / zoomed.fx, (rows - zoomed.cy) / zoomed.fy
    u, v = camera.cx + rays_u * camera.fx, camera.cy + rays_v * camera.fy
    assert np.abs(larger[..., 0] - 3 * u).max() <= 1
    assert np.abs(larger[..., 1] - 4 * v).max() <= 1
    assert np.abs(larger_depth - (2 + u)).max() <= 0.51  # the nearest
    assert np.isin(larger_depth, depth).all()


def test_radius_matching_has_all_close_pairs(wall: Path) -> None:
    """Among them the mutually nearest."""
    found = []
    for matching in MATCHINGS:
        settings = BenchmarkSettings(root=wall, matching=matching)
        pair = BenchmarkPairs(settings, SMALL, seed=1)[0]
        targets = pair.targets
        found.append(set(zip(targets.pixel_indices.tolist(), targets.point_indices.tolist(), strict=True)))
    assert found[0] < found[1]
    in_camera = transform_points(pair.camera_from_cloud, pair.pyramid.points[0].numpy())
    grid = image_grid(SMALL.image, 48, 64)
    centres = pixel_centres(grid.fine, SMALL.image.fine_stride).numpy()
    near = np.linalg.norm(targets.pixel_points[:, None] - in_camera[None], axis=2) < positive_radius(SMALL)
    near &= np.linalg.norm(centres[:, None] - targets.point_pixels[None], axis=2) < positive_pixels(SMALL)
    assert found[1] == set(zip(*(rows.tolist() for rows in np.nonzero(near)), strict=True))
