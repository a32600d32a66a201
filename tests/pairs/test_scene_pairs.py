"""Training pairs: the true pose fits, whatever the augmentation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.models.config import lite_config
from diff2i2p_core.pairs.pair import collate, true_points
from diff2i2p_core.pairs.scene_pairs import PairSettings, ScenePairs
from diff2i2p_core.pairs.scenes import Scene
from diff2i2p_core.pairs.targets import positive_radius

CONFIG = lite_config("rgb")


@pytest.mark.parametrize("augment", [False, True])
def test_true_correspondences_are_where_the_pose_says(scene: Scene, augment: bool) -> None:
    pairs = ScenePairs([scene], [1.0], CONFIG, seed=1, augment=augment)
    for index in range(3):
        pair = pairs[index]
        targets = pair.targets
        cloud = pair.pyramid.points[0].numpy()
        truth = true_points(targets, pair.camera_from_cloud, targets.pixel_indices)
        distances = np.linalg.norm(truth - cloud[targets.point_indices], axis=1)
        assert len(distances) > 300
        assert distances.max() <= positive_radius(CONFIG) + 1e-4
        pixels, depth = pair.camera.project(transform_points(pair.camera_from_cloud, cloud))
        np.testing.assert_allclose(targets.point_pixels[depth > 0.05], pixels[depth > 0.05], atol=1e-2)


def test_pairs_depend_on_seed_and_index_alone(scene: Scene) -> None:
    first = ScenePairs([scene], [1.0], CONFIG, seed=4)[2]
    second = ScenePairs([scene], [1.0], CONFIG, seed=4)
    assert torch.equal(first.image, second[2].image)
    assert torch.equal(first.features, second[2].features)
    assert not torch.equal(first.image, second[3].image)


def test_pairs_cover_the_wanted_overlap(scene: Scene) -> None:
    settings = PairSettings(min_overlap=0.5)
    pairs = ScenePairs([scene], [1.0], CONFIG, settings, seed=2)
    assert min(pairs[i].targets.overlap for i in range(4)) >= 0.5


def test_a_scene_whose_poses_are_wrong_is_named(scene: Scene) -> None:
    away = replace(scene, cloud=replace(scene.cloud, points=scene.cloud.points + np.float32(100)))
    with pytest.raises(InputError, match=r"scenes room: none of 20 draws overlaps by 0.3"):
        ScenePairs([away], [1.0], CONFIG)[0]


def test_collate_packs_clouds(scene: Scene) -> None:
    pairs = ScenePairs([scene], [1.0], CONFIG, seed=1)
    batch = collate([pairs[0], pairs[1]])
    assert batch.images.shape == (2, 3, 240, 320)
    assert batch.pyramid.lengths[0] == [len(p.pyramid.points[0]) for p in batch.pairs]
    assert len(batch.features) == sum(batch.pyramid.lengths[0])
