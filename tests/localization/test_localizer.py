"""The localizer's logic with a network whose matches are known; the real network is tested end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from known_matches import CAMERA, IMAGE, network_of, true_matches

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import (
    compose,
    invert,
    rotation_error_deg,
    transform_points,
    translation_error,
)
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.retrieval import SubmapIndex, near_prior
from diff2i2p_core.mapping.map_file import save_map
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.features import Correspondences, ImageFeatures, SubmapFeatures
from diff2i2p_core.models.inputs import input_camera

TRUE = looking(np.array([2.1, 1.2, 1.3]), 1.4, 0.05)
VIEWS = np.array([looking(np.array([2, 1.0, 1.2]), yaw, 0.1) for yaw in (-1.5, 0.0, 1.5, 3.0)])


@pytest.fixture
def localizer(tiny_weights: Path, room_cloud: PointCloud) -> Localizer:
    return Localizer.from_cloud(room_cloud, matcher="network", weights=tiny_weights, views=VIEWS)


def tell_the_truth(localizer: Localizer, monkeypatch: pytest.MonkeyPatch, outliers: float = 0.0) -> list[int]:
    """Let `match` answer with true correspondences (in network pixels); returns the submaps asked for."""
    asked: list[int] = []
    network = network_of(localizer)
    camera = input_camera(CAMERA, network.model.config)

    def match(image: ImageFeatures, submap: SubmapFeatures, nodes: object = None) -> Correspondences:
        index = next(i for i, own in enumerate(network.submaps) if own is submap)
        asked.append(index)
        camera_from_submap = invert(TRUE) @ localizer.map.views[index]
        return true_matches(submap, camera, camera_from_submap, step=7, outliers=outliers, seed=index)

    monkeypatch.setattr(network_of(localizer).model, "match", match)
    return asked


def test_true_matches_give_the_true_pose(localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tell_the_truth(localizer, monkeypatch, outliers=0.5)
    result = localizer.localize(IMAGE, CAMERA)
    assert result.localized and result.reason == "" and result.map_from_camera is not None
    assert translation_error(result.map_from_camera, TRUE) < 0.01
    assert rotation_error_deg(result.map_from_camera, TRUE) < 0.2
    assert result.submap == 2 and 0.4 < result.inlier_ratio < 0.65
    assert result.covariance is not None and (np.linalg.eigvalsh(result.covariance) > 0).all()
    assert set(result.latency_ms) == {"image", "match", "pose", "align"}
    # inliers are in the given image and in the map frame
    pixels, _ = CAMERA.project(transform_points(invert(TRUE), result.inlier_points))
    np.testing.assert_allclose(pixels, result.inlier_pixels, atol=15)
    assert np.median(np.abs(pixels - result.inlier_pixels)) < 0.5


def test_matches_are_in_pixels_of_the_given_image(
    localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network sees half the image's size: between the pixels (u, v) of both, u + 0.5 doubles."""
    tell_the_truth(localizer, monkeypatch)
    localizer.settings = replace(localizer.settings, align=False)
    result = localizer.localize(IMAGE, CAMERA)
    assert input_camera(CAMERA, network_of(localizer).model.config).width == CAMERA.width / 2
    pixels, _ = CAMERA.project(transform_points(invert(TRUE), result.inlier_points))
    assert len(pixels) > 100 and result.reprojection_error_px < 1e-3
    np.testing.assert_allclose(result.inlier_pixels, pixels, atol=1e-3)


def test_sigmas_grow_as_fewer_matches_agree(localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tell_the_truth(localizer, monkeypatch, outliers=0.5)
    monkeypatch.setattr(localizer, "settings", replace(localizer.settings, sigma_scale=1.0, sigma_exponent=0))
    plain = localizer.localize(IMAGE, CAMERA)
    monkeypatch.setattr(localizer, "settings", replace(localizer.settings, sigma_scale=3.0, sigma_exponent=2))
    scaled = localizer.localize(IMAGE, CAMERA)
    assert plain.covariance is not None and scaled.covariance is not None
    factor = 3.0 / plain.inlier_ratio**2
    np.testing.assert_allclose(scaled.covariance, plain.covariance * factor**2, rtol=1e-9)


def test_a_colored_map_is_searched_in_more_places_while_none_is_found(
    localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tell_the_truth(localizer, monkeypatch, outliers=1.0)
    assert not localizer.localize(IMAGE, CAMERA).localized
    assert sorted(asked) == [0, 1, 2, 3]
    asked.clear()
    localizer.settings = replace(localizer.settings, align=False)
    assert not localizer.localize(IMAGE, CAMERA).localized
    assert len(asked) == localizer.settings.candidates == 3


def test_the_same_image_gives_the_same_answer(localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tell_the_truth(localizer, monkeypatch, outliers=0.5)
    first, again = localizer.localize(IMAGE, CAMERA), localizer.localize(IMAGE, CAMERA)
    assert first.map_from_camera is not None and again.map_from_camera is not None
    np.testing.assert_array_equal(first.map_from_camera, again.map_from_camera)


def test_a_prior_restricts_the_search(localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tell_the_truth(localizer, monkeypatch)
    assert localizer.localize(IMAGE, CAMERA, prior=TRUE).localized
    assert asked == [2]
    asked.clear()
    far = compose(np.eye(3), [50, 0, 0])
    assert localizer.localize(
        IMAGE, CAMERA, prior=far
    ).localized  # nothing near it: all submaps are candidates
    assert len(asked) > 1
    with pytest.raises(InputError, match="prior"):
        localizer.localize(IMAGE, CAMERA, prior=np.full((4, 4), np.nan))


def test_a_clear_answer_needs_no_further_submap(
    localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tell_the_truth(localizer, monkeypatch)
    monkeypatch.setattr(network_of(localizer), "candidates", lambda features: [2, 0, 1])
    assert localizer.localize(IMAGE, CAMERA).localized
    assert asked == [2, 0]
    asked.clear()
    assert localizer.localize(IMAGE, CAMERA, prior=TRUE).localized
    assert asked == [2]


def test_wrong_matches_are_refused(localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tell_the_truth(localizer, monkeypatch, outliers=1.0)
    result = localizer.localize(IMAGE, CAMERA)
    assert not result.localized and result.reason and result.map_from_camera is None and result.submap == -1


def test_two_places_with_the_same_support_are_ambiguous(
    localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_the_truth(localizer, monkeypatch)
    network = network_of(localizer)
    truthful, moved = network.model.match, network.submaps[2]

    def match(image: ImageFeatures, submap: SubmapFeatures, nodes: object = None) -> Correspondences:
        """Every submap answers like the true one, so each gives another camera pose."""
        return truthful(image, moved)

    monkeypatch.setattr(network_of(localizer).model, "match", match)
    result = localizer.localize(IMAGE, CAMERA)
    assert not result.localized and result.reason.startswith("ambiguous (submap ")
    assert localizer.localize(IMAGE, CAMERA, prior=TRUE).localized  # the prior decides


def test_matches_in_a_corner_are_believed_where_a_prior_confirms_them(
    localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_the_truth(localizer, monkeypatch)
    everywhere = network_of(localizer).model.match

    def match(image: ImageFeatures, submap: SubmapFeatures, nodes: object = None) -> Correspondences:
        found = everywhere(image, submap)
        corner = (found.pixels < 70).all(dim=1)
        return replace(
            found, pixels=found.pixels[corner], points=found.points[corner], scores=found.scores[corner]
        )

    monkeypatch.setattr(network_of(localizer).model, "match", match)
    assert localizer.localize(IMAGE, CAMERA).reason.startswith("low coverage")
    assert localizer.localize(IMAGE, CAMERA, prior=TRUE).localized
    beside = compose(np.eye(3), [0.7, 0, 0]) @ TRUE
    assert localizer.localize(IMAGE, CAMERA, prior=beside).reason.startswith("low coverage")


def test_an_untrained_network_does_not_localize(localizer: Localizer) -> None:
    result = localizer.localize(IMAGE, CAMERA)
    assert not result.localized and result.reason
    assert result.as_dict()["map_from_camera"] is None


def test_a_map_file_gives_the_same_answer_and_knows_its_weights(
    localizer: Localizer, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path, tmp_path: Path
) -> None:
    save_map(localizer.map, tmp_path / "room.map")
    opened = Localizer.open(tmp_path / "room.map", tiny_weights)
    np.testing.assert_array_equal(opened.map.cloud.points, localizer.map.cloud.points)
    tell_the_truth(opened, monkeypatch)
    result = opened.localize(IMAGE, CAMERA)
    assert result.map_from_camera is not None and translation_error(result.map_from_camera, TRUE) < 0.01
    from diff2i2p_core.weights.checkpoint import load_model, save_model

    save_model(
        load_model(tiny_weights), tmp_path / "other.safetensors", {"note": "same numbers, another file"}
    )
    with pytest.raises(InputError, match=r"room\.map: made with weights 'tiny'"):
        Localizer.open(tmp_path / "room.map", tmp_path / "other.safetensors")


def test_bad_images_are_refused(localizer: Localizer) -> None:
    with pytest.raises(InputError, match="image: 160x120 pixels, but the calibration is for 320x240"):
        localizer.localize(IMAGE[::2, ::2], CAMERA)
    with pytest.raises(InputError, match="uint8 RGB"):
        localizer.localize(IMAGE[..., 0], CAMERA)


def test_bad_clouds_are_refused(tiny_weights: Path, room_cloud: PointCloud) -> None:
    with pytest.raises(InputError, match="holds no points"):
        Localizer.from_cloud(PointCloud(np.zeros((0, 3), np.float32)), tiny_weights)
    with pytest.raises(InputError, match="NaN"):
        Localizer.from_cloud(PointCloud(np.full((9, 3), np.nan, np.float32)), tiny_weights)
    with pytest.raises(InputError, match="rgb"):
        Localizer.from_cloud(PointCloud(room_cloud.points), tiny_weights, matcher="network")


def test_a_cloud_without_colours_gets_weights_that_need_none(
    room_cloud: PointCloud,
) -> None:
    for colors, weights in ((None, "lite-geometry"), (room_cloud.colors, "lite-rgb")):
        localizer = Localizer.from_cloud(
            PointCloud(room_cloud.points, colors), matcher="network", views=VIEWS[1:2]
        )
        assert localizer.map.info.weights_name == network_of(localizer).model.config.name == weights


def test_retrieval_prefers_the_submap_with_like_features(localizer: Localizer) -> None:
    network = network_of(localizer)
    index = SubmapIndex(network.submaps)
    features = network.encode(Query.of(IMAGE, CAMERA, localizer.settings))
    wanted = network.submaps[1].nodes[network.submaps[1].node_valid]
    copied = wanted[torch.arange(len(features.nodes)) % len(wanted)]
    scores = index.scores(type(features)(**{**vars(features), "nodes": copied}))
    assert scores.shape == (4,) and int(scores.argmax()) == 1 and float(scores[1]) > 0.999


def test_near_prior_orders_by_distance_and_angle() -> None:
    assert near_prior(VIEWS, TRUE, 2.0, 60.0) == [2]
    assert near_prior(VIEWS, TRUE, 2.0, 100.0) == [2, 1, 3]
    assert near_prior(VIEWS, compose(np.eye(3), [9, 9, 9]), 2.0, 180.0) == []


def test_weights_of_rgbd_mode_need_the_depth(
    tiny_weights: Path, room_cloud: PointCloud, tmp_path: Path
) -> None:
    from diff2i2p_core.models.diff2i2p import Diff2I2P
    from diff2i2p_core.weights.checkpoint import read_config, save_model

    config = read_config(tiny_weights)[0].model_copy(update={"mode": "rgbd", "name": "tiny-rgbd"})
    save_model(Diff2I2P(config), tmp_path / "rgbd.safetensors")
    localizer = Localizer.from_cloud(
        room_cloud, matcher="network", weights=tmp_path / "rgbd.safetensors", views=VIEWS[:1]
    )
    depth = np.full((240, 320), 2.0, np.float32)
    assert localizer.needs_depth
    assert localizer.localize(IMAGE, CAMERA, depth=depth).reason
    with pytest.raises(InputError, match="'tiny-rgbd' need the query's depth"):
        localizer.localize(IMAGE, CAMERA)
    with pytest.raises(InputError, match="depth: 160x120 pixels, but the calibration is for 320x240"):
        localizer.localize(IMAGE, CAMERA, depth=depth[::2, ::2])


def test_submaps_matched_together_match_as_alone(localizer: Localizer) -> None:
    network = network_of(localizer)
    features = network.encode(Query.of(IMAGE, CAMERA, localizer.settings))
    submaps = [network.submaps[i] for i in range(4)]
    assert len({len(submap.superpoints) for submap in submaps}) > 1  # some are padded
    together = network.model.fuse_many(features, submaps)
    for submap, nodes in zip(submaps, together, strict=True):
        alone = network.model.fuse(features, submap)
        torch.testing.assert_close(nodes.image, alone.image, rtol=0, atol=1e-5)
        torch.testing.assert_close(nodes.points, alone.points, rtol=0, atol=1e-5)


def test_precision_is_that_of_the_image_branch_alone(localizer: Localizer) -> None:
    network = network_of(localizer)
    exact = network.encode(Query.of(IMAGE, CAMERA, localizer.settings))
    half = network.encode(Query.of(IMAGE, CAMERA, replace(localizer.settings, precision="bfloat16")))
    error = (half.fine - exact.fine).norm() / exact.fine.norm()
    assert half.fine.dtype == torch.float32 and 1e-4 < error < 3e-2
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("mode", ["mono", "rgbd"])
def test_warming_up_asks_for_nothing_and_says_nothing(
    mode: str, tiny_weights: Path, room_cloud: PointCloud, tmp_path: Path
) -> None:
    from diff2i2p_core.models.diff2i2p import Diff2I2P
    from diff2i2p_core.weights.checkpoint import read_config, save_model

    config = read_config(tiny_weights)[0].model_copy(update={"mode": mode, "name": "tiny"})
    save_model(Diff2I2P(config), tmp_path / "weights.safetensors")
    Localizer.from_cloud(
        room_cloud, matcher="network", weights=tmp_path / "weights.safetensors", views=VIEWS[:1]
    ).warm_up()
