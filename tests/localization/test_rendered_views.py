"""Localization by rendered views, in a drawn room that nothing was trained on."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.io.rgbd_folder import Frame, PosedFrames
from diff2i2p_core.localization import beside
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.rendered_views import RenderedViews
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.mapping.map_file import load_map
from diff2i2p_core.mapping.source import read_frames
from diff2i2p_core.models.view_networks import PictureNetworks
from diff2i2p_core.models.xfeat import Keypoints, XFeat
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.typing import Image
from diff2i2p_core.weights.published import FOLDER_VARIABLE

CAMERA = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)
MAP, QUERIES = [0, 1, 3, 4, 6, 7, 9], [2, 5, 8]


def frames_of(folder: Path, seed: int) -> PosedFrames:
    room = make_room(seed)
    write_frames(folder, room, CAMERA, camera_path(room, 10, seed))
    return PosedFrames(folder)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> PosedFrames:
    return frames_of(tmp_path_factory.mktemp("room"), 20_003)


@pytest.fixture(scope="module")
def localizer(frames: PosedFrames, xfeat_network: XFeat) -> Localizer:
    return Localizer.from_frames(frames.folder, MAP, matcher="views")


def frame(frames: PosedFrames, number: int) -> Frame:
    return frames[frames.numbers.index(number)]


@pytest.mark.parametrize("number", QUERIES)
def test_images_of_the_room_are_localized(localizer: Localizer, frames: PosedFrames, number: int) -> None:
    query = frame(frames, number)
    found = localizer.localize(query.image, frames.camera)
    assert found.localized and found.matcher == "views" and found.map_from_camera is not None
    assert translation_error(found.map_from_camera, query.world_from_camera) < 0.06
    assert rotation_error_deg(found.map_from_camera, query.world_from_camera) < 2
    assert {"image", "retrieve", "match", "render", "pose"} <= set(found.latency_ms)
    assert found.covariance is not None and (np.linalg.eigvalsh(found.covariance) > 0).all()


def test_a_rough_prior_needs_no_view(
    localizer: Localizer, frames: PosedFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = frame(frames, QUERIES[0])
    prior = perturb(query.world_from_camera, np.array([0.15, -0.1, 0.1, 0.05, -0.08, 0.05]))

    def never(*arguments: object, **named: object) -> list[Hypothesis]:
        raise AssertionError("a view was matched")

    monkeypatch.setattr(RenderedViews, "matched", never)
    found = localizer.localize(query.image, frames.camera, prior=prior)
    assert found.map_from_camera is not None
    assert translation_error(found.map_from_camera, query.world_from_camera) < 0.08


@pytest.mark.parametrize("number", QUERIES)
def test_views_can_be_ordered_by_their_poses(localizer: Localizer, frames: PosedFrames, number: int) -> None:
    """From the strongest features: the first ones lead to the pose, and no more than wanted are returned."""
    (proposer,) = (each for each in localizer.proposers if isinstance(each, RenderedViews))
    settings = LocalizerSettings()
    settings = replace(settings, views=replace(settings.views, rough_features=300, candidates=3))
    shown = frame(frames, number)
    query = Query.of(shown.image, frames.camera, settings)
    features = proposer.matching.features(query)
    ranked = proposer.ranked(query, features)
    matched = {view: proposer.matched(query, features, [view])[0] for view in range(len(proposer.views))}
    assert len(matched) > len(ranked) == len(set(ranked)) == 3
    assert max(matched, key=lambda view: matched[view].strength) in ranked
    pose = matched[ranked[0]].map_from_camera
    assert pose is not None and translation_error(pose, shown.world_from_camera) < 0.1


@pytest.mark.parametrize(("early_strength", "tries"), [(0.0, 3), (1.0, 2)])
def test_less_likely_views_are_matched_after_the_likely_ones(
    localizer: Localizer,
    frames: PosedFrames,
    early_strength: float,
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And at once if none of the likely ones is strong enough to be rendered again."""
    asked: list[int] = []

    def nothing(
        views: RenderedViews, query: Query, features: Keypoints, some: list[int], *_: object, **__: object
    ) -> object:
        asked.append(len(some))
        return []

    monkeypatch.setattr(RenderedViews, "matched", nothing)
    proposer = next(each for each in localizer.proposers if isinstance(each, RenderedViews))
    settings = LocalizerSettings()
    views = replace(settings.views, candidates=4, likely=2, early_strength=early_strength)
    settings = replace(settings, views=views)
    query = Query.of(frame(frames, QUERIES[0]).image, frames.camera, settings)
    groups = list(proposer.propose(query))
    assert len(proposer.views.poses) == 4
    assert asked == [2, 2, 2] and groups == [[]] * tries


def test_one_core_and_two_give_the_same_pose_and_leave_no_thread(
    localizer: Localizer, frames: PosedFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = frame(frames, QUERIES[0])
    prior = perturb(query.world_from_camera, np.array([0.02, -0.02, 0.02, 0.01, -0.01, 0.01]))
    described, describe = [], PictureNetworks.describe_image

    def noted(networks: PictureNetworks, image: Image, most: int) -> Keypoints:
        described.append(threading.current_thread())
        return describe(networks, image, most)

    monkeypatch.setattr(PictureNetworks, "describe_image", noted)
    poses: list[object] = []
    for cores in (1, 2):
        monkeypatch.setattr(beside, "_cores", lambda cores=cores: cores)
        found = localizer.localize(query.image, frames.camera, prior=prior)
        assert found.map_from_camera is not None
        poses.append(found.map_from_camera.tolist())
    assert poses[0] == poses[1]
    assert described[0] is threading.current_thread() and described[1] not in threading.enumerate()


def test_images_of_another_room_are_refused(localizer: Localizer, tmp_path: Path) -> None:
    other = frames_of(tmp_path, 20_011)
    for number in QUERIES:
        found = localizer.localize(frame(other, number).image, other.camera)
        assert not found.localized and found.reason


def test_a_map_file_gives_the_same_poses_whatever_the_jobs(
    localizer: Localizer, frames: PosedFrames, tmp_path: Path
) -> None:
    one = build_map(frames.folder, tmp_path / "one.map", matcher="views")
    two = build_map(frames.folder, tmp_path / "two.map", matcher="views", jobs=2)
    assert (
        one.kinds == two.kinds == ["views", "depth"] and one.rendered is not None and two.rendered is not None
    )
    assert torch.equal(one.rendered.views.descriptors, two.rendered.views.descriptors)
    assert torch.equal(one.rendered.views.signatures, two.rendered.views.signatures)
    query = frame(frames, QUERIES[1])
    poses = [
        Localizer.open(tmp_path / name).localize(query.image, frames.camera).map_from_camera
        for name in ("one.map", "two.map")
    ]
    assert poses[0] is not None and poses[1] is not None
    np.testing.assert_array_equal(poses[0], poses[1])
    assert translation_error(poses[0], query.world_from_camera) < 0.05
    with pytest.raises(InputError, match=r"one\.map: has no features for the matcher 'network'"):
        Localizer.open(tmp_path / "one.map", matcher="network")
    words = r"one\.map: weights 'lite-rgb' are given, .* the map has none of its features; leave them out"
    with pytest.raises(InputError, match=words):
        Localizer.open(tmp_path / "one.map", "lite-rgb")


def test_auto_makes_both_and_asks_the_views_first(
    frames: PosedFrames, tiny_weights: Path, xfeat_network: XFeat, tmp_path: Path
) -> None:
    build_map(frames.folder, tmp_path / "both.map", weights=tiny_weights)
    assert load_map(tmp_path / "both.map").kinds == ["views", "depth", "network"]
    localizer = Localizer.open(tmp_path / "both.map", tiny_weights)
    assert [proposer.name for proposer in localizer.proposers] == ["views", "depth", "network"]
    query = frame(frames, QUERIES[0])
    assert localizer.localize(query.image, frames.camera).matcher == "views"
    strict = replace(localizer.settings.views, min_inliers=10**6)
    localizer.settings = replace(localizer.settings, views=strict, align=False)
    refused = localizer.localize(query.image, frames.camera)
    assert not refused.localized and refused.matcher == "network"


def test_a_map_with_intensity_shows_it(frames: PosedFrames, xfeat_network: XFeat) -> None:
    """Its intensity is the green of the room with another response: it tells dark colours apart."""
    source = read_frames(frames.folder, MAP)
    assert source.cloud.colors is not None
    response = (255 * (np.arange(256) / 255) ** 0.5).astype(np.uint8)
    cloud = PointCloud(source.cloud.points, intensity=response[source.cloud.colors[:, 1]])
    made = Localizer.from_cloud(cloud, matcher="views", views=source.render_views)
    for number in QUERIES:
        query = frame(frames, number)
        found = made.localize(query.image, frames.camera)
        assert found.map_from_camera is not None and found.matcher == "views"
        assert translation_error(found.map_from_camera, query.world_from_camera) < 0.06


def test_auto_without_their_weights_uses_the_network_and_says_so(
    frames: PosedFrames, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "none"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    source = read_frames(frames.folder)
    notes: list[str] = []
    made = Localizer.from_cloud(source.cloud, tiny_weights, views=source.submap_views, note=notes.append)
    assert [proposer.name for proposer in made.proposers] == ["depth", "network"]
    assert len(notes) == 1 and notes[0].startswith("no rendered views: ")
    with pytest.raises(InputError, match="weights fetch xfeat"):
        Localizer.from_cloud(source.cloud, matcher="views", views=source.submap_views)
