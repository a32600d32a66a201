"""What each setting of scene pairs changes, against pairs in which nothing is random but the frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from four_views import UNCHANGED
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.models.config import lite_config
from diff2i2p_core.pairs.pair import Pair
from diff2i2p_core.pairs.scene_pairs import PairSettings, ScenePairs
from diff2i2p_core.pairs.scenes import Scene
from diff2i2p_core.typing import Array

CONFIG = lite_config("rgb")


def pairs(scene: Scene, count: int = 6, **changes: Any) -> list[Pair]:
    settings = PairSettings.model_validate({**UNCHANGED, **changes})
    source = ScenePairs([scene], [1.0], CONFIG, settings, seed=2)
    return [source[n] for n in range(count)]


def turn_deg(pose: Array) -> float:
    return float(np.degrees(Rotation.from_matrix(pose[:3, :3]).magnitude()))


def points(pair: Pair) -> Array:
    cloud: Array = pair.pyramid.points[0].numpy().astype(float)
    return cloud


def test_without_augmentation_a_pair_is_a_frame_and_what_it_sees(scene: Scene) -> None:
    for pair in pairs(scene):
        np.testing.assert_allclose(pair.camera_from_cloud, np.eye(4), atol=1e-9)
        assert pair.camera == scene.camera
        frame = int(pair.name.split("/")[1].split("_")[0])
        shown = pair.rgb.permute(1, 2, 0).numpy().astype(int)
        assert np.abs(shown - scene.images[frame]).max() <= 2  # rounded


def test_other_frame_cuts_the_submap_from_another_view(scene: Scene) -> None:
    frames = scene.world_from_cameras
    relative = [np.linalg.inv(a) @ b for a in frames for b in frames]
    found = [pair.camera_from_cloud for pair in pairs(scene, 8, other_frame=1, min_overlap=0)]
    assert all(min(np.abs(pose - other).max() for other in relative) < 1e-9 for pose in found)
    assert any(turn_deg(pose) > 1 for pose in found)


def test_jitter_moves_and_turns_the_view(scene: Scene) -> None:
    moved = [pair.camera_from_cloud for pair in pairs(scene, 12, jitter_m=0.1)]
    assert all(turn_deg(pose) < 1e-6 for pose in moved)
    assert 0.05 < np.std([pose[:3, 3] for pose in moved]) < 0.2
    turned = [pair.camera_from_cloud for pair in pairs(scene, 12, jitter_deg=5)]
    assert all(np.abs(pose[:3, 3]).max() < 1e-9 for pose in turned)
    angles = [Rotation.from_matrix(pose[:3, :3]).as_rotvec(degrees=True) for pose in turned]
    assert np.std(angles, axis=0) == pytest.approx([5, 5, 2.5], rel=0.6)


def test_roll_and_zoom_are_those_of_another_camera_in_the_same_position(scene: Scene) -> None:
    rolled = [Rotation.from_matrix(p.camera_from_cloud[:3, :3]) for p in pairs(scene, 8, roll_deg=20)]
    angles = np.array([turn.as_rotvec(degrees=True) for turn in rolled])
    np.testing.assert_allclose(angles[:, :2], 0, atol=1e-6)
    assert 8 < np.abs(angles[:, 2]).max() <= 20 and len(set(np.sign(angles[:, 2]))) == 2
    zoomed = pairs(scene, 8, zoom=[0.8, 2])
    factors = [pair.camera.fx / scene.camera.fx for pair in zoomed]
    assert 0.8 <= min(factors) < 1.1 and 1.4 < max(factors) <= 2
    assert all(turn_deg(pair.camera_from_cloud) < 1e-6 for pair in zoomed)


def test_novel_views_are_within_their_limits(scene: Scene) -> None:
    """With the depth of the new image: its pixels are where the moved pose sees the cloud."""
    limits = {"novel_view": 1, "novel_view_m": 0.2, "novel_view_deg": 6}
    poses = []
    for pair in pairs(scene, 6, **limits):
        poses.append(pair.camera_from_cloud)
        targets = pair.targets
        in_camera = transform_points(pair.camera_from_cloud, points(pair)[targets.point_indices])
        distance = np.linalg.norm(in_camera - targets.pixel_points[targets.pixel_indices], axis=1)
        assert len(distance) > 300 and np.median(distance) < 0.05
    shifts = np.abs([pose[:3, 3] for pose in poses])
    assert 0.1 < shifts.max() <= 0.2
    assert 2 < max(turn_deg(pose) for pose in poses) < 6 * 3**0.5
    half = pairs(scene, 20, **{**limits, "novel_view": 0.5})
    still = sum(bool(np.allclose(pair.camera_from_cloud, np.eye(4), atol=1e-6)) for pair in half)
    assert 4 <= still <= 16


def test_color_jitter_changes_colours_alone(scene: Scene) -> None:
    for plain, colored in zip(pairs(scene, 3), pairs(scene, 3, color_jitter=0.5), strict=True):
        assert torch.equal(plain.pyramid.points[0], colored.pyramid.points[0])
        assert (plain.rgb.float() - colored.rgb.float()).abs().mean() > 2
        assert not torch.equal(plain.features, colored.features)


def test_point_noise_has_its_deviation(scene: Scene) -> None:
    for plain, noisy in zip(pairs(scene, 2), pairs(scene, 2, point_noise=0.01), strict=True):
        assert torch.equal(plain.rgb, noisy.rgb)
        assert float(np.std(points(noisy) - points(plain))) == pytest.approx(0.01, rel=0.1)


def test_dropout_and_the_limit_leave_out_points(scene: Scene) -> None:
    """Dropout thins the map, before the submap is cut at the network's spacing."""
    whole = [len(points(pair)) for pair in pairs(scene)]
    fewer = [len(points(pair)) for pair in pairs(scene, point_dropout=0.95)]
    assert all(0 < a <= b for a, b in zip(fewer, whole, strict=True)) and min(fewer) < 0.9 * max(whole)
    assert [len(points(pair)) for pair in pairs(scene, 2, max_points=700)] == [700, 700]


def test_every_setting_is_tested_here() -> None:
    """`min_overlap`: test_scene_pairs.py."""
    tested = {*UNCHANGED, "min_overlap", "novel_view", "novel_view_m", "novel_view_deg", "max_points"}
    assert tested == set(PairSettings.model_fields)
