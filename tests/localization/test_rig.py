"""Two cameras on one body in a drawn room: the rig is localized wherever either camera can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import exp, rotation_error_deg, translation_error
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.registered_depth import RegisteredDepth
from diff2i2p_core.localization.rendered_views import RenderedViews
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.rooms.room import Room, camera_path, make_room, write_frames
from diff2i2p_core.typing import Array, Image

CAMERA = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)
SEED = 20_003
LEFT = RigCamera("left", CAMERA, exp([0, -1.2, 0, -0.1, 0, -0.05]))
FRONT = RigCamera("front", CAMERA, exp([0, 0.1, 0, 0.05, 0, 0.1]))
UP = RigCamera("up", CAMERA, exp([1.4, 0, 0, 0, -0.1, 0]))  # sees the ceiling, or a wall's upper edge
BODY = 17
BLANK = np.full((240, 320, 3), 180, np.uint8)


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(SEED)


@pytest.fixture(scope="module")
def path(room: Room) -> list[Array]:
    return camera_path(room, 30, SEED)


@pytest.fixture(scope="module")
def localizer(
    room: Room, path: list[Array], tmp_path_factory: pytest.TempPathFactory, xfeat_network: XFeat
) -> Localizer:
    folder = tmp_path_factory.mktemp("room")
    write_frames(folder, room, CAMERA, path[::3])
    return Localizer.from_frames(folder, matcher="views")


def seen(room: Room, body: Array, *cameras: RigCamera) -> list[Image]:
    return [room.render(each.camera, body @ each.body_from_camera)[0] for each in cameras]


def error(answer: RigLocalization, body: Array) -> float:
    assert answer.map_from_body is not None, answer.reason
    assert rotation_error_deg(answer.map_from_body, body) < 2
    return translation_error(answer.map_from_body, body)


def test_both_cameras_give_one_pose_of_the_body(localizer: Localizer, room: Room, path: list[Array]) -> None:
    cameras = [FRONT, LEFT]
    images = seen(room, path[BODY], *cameras)
    found = localizer.localize_rig(images, cameras)
    alone = [localizer.localize_rig([image], [each]) for image, each in zip(images, cameras, strict=True)]
    assert found.contributing == ("front", "left") and found.matcher == "views"
    assert error(found, path[BODY]) < min(error(each, path[BODY]) for each in alone)
    assert found.map_from_body is not None
    assert found.covariance is not None and alone[0].covariance is not None
    assert np.trace(found.covariance[:3, :3]) < np.trace(alone[0].covariance[:3, :3])
    for each in cameras:
        share = found.cameras[each.name]
        assert share.map_from_camera is not None
        np.testing.assert_allclose(share.map_from_camera, found.map_from_body @ each.body_from_camera)
        assert share.localized and share.num_inliers == len(share.inlier_pixels) >= 60
    assert found.num_inliers == sum(share.num_inliers for share in found.cameras.values())
    again = localizer.localize_rig(images, cameras)
    assert again.map_from_body is not None
    np.testing.assert_array_equal(again.map_from_body, found.map_from_body)


@pytest.mark.parametrize("blind", [BLANK, None], ids=["blank", "another room"])
@pytest.mark.parametrize("first", [True, False])
def test_a_camera_that_sees_nothing_useful_does_no_harm(
    localizer: Localizer, room: Room, path: list[Array], blind: Image | None, first: bool
) -> None:
    (image,) = seen(room, path[BODY], FRONT)
    if blind is None:
        other = make_room(20_011)
        (blind,) = seen(other, camera_path(other, 5, 1)[2], FRONT)
    images, cameras = [image, blind], [FRONT, LEFT]
    if first:
        images, cameras = images[::-1], cameras[::-1]
    found = localizer.localize_rig(images, cameras)
    alone = localizer.localize_rig([image], [FRONT])
    assert found.contributing == ("front",)
    assert error(found, path[BODY]) < error(alone, path[BODY]) + 0.003
    share = found.cameras["left"]
    assert share.localized and share.num_inliers < 20  # its pose follows from the body's


def test_a_prior_of_the_body_needs_no_view(
    localizer: Localizer, room: Room, path: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object, **named: object) -> list[Hypothesis]:
        raise AssertionError("a view was matched")

    monkeypatch.setattr(RenderedViews, "matched", never)
    cameras = [UP, LEFT]
    prior = perturb(path[BODY], np.array([0.15, -0.1, 0.1, 0.05, -0.08, 0.05]))
    found = localizer.localize_rig(seen(room, path[BODY], *cameras), cameras, prior=prior)
    assert error(found, path[BODY]) < 0.08


def test_images_of_another_room_are_refused(localizer: Localizer) -> None:
    other = make_room(20_011)
    found = localizer.localize_rig(seen(other, camera_path(other, 5, 3)[2], FRONT, LEFT), [FRONT, LEFT])
    assert not found.localized and found.reason and found.map_from_body is None
    assert set(found.cameras) == {"front", "left"}
    assert found.as_dict()["cameras"]["left"]["localized"] is False


def test_too_few_inliers_of_each_camera_are_enough_together(
    localizer: Localizer, room: Room, path: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = [FRONT, LEFT]
    images = seen(room, path[BODY], *cameras)
    counts = [share.num_inliers for share in localizer.localize_rig(images, cameras).cameras.values()]
    strict = replace(localizer.settings.views, min_inliers=max(counts) + 30)
    monkeypatch.setattr(localizer, "settings", replace(localizer.settings, views=strict, align=False))
    for image, each in zip(images, cameras, strict=True):
        assert localizer.localize_rig([image], [each]).reason.startswith("too few")
    assert error(localizer.localize_rig(images, cameras), path[BODY]) < 0.05


class KnownPlace:
    """Proposes matches with points that each image sees, around true map_from_camera poses; by number."""

    name, needs_depth, device = "known", False, torch.device("cpu")

    def __init__(self, room: Room, poses: dict[int, Array]) -> None:
        self._room, self._poses = room, poses

    def propose(self, query: Query) -> Iterator[list[Hypothesis]]:
        from diff2i2p_core.geometry.depth import back_project
        from diff2i2p_core.geometry.pnp import solve_pnp
        from diff2i2p_core.geometry.se3 import transform_points

        rng = np.random.default_rng(0)
        pose = self._poses.get(int(query.image[0, 0, 0]))
        pixels = rng.uniform([0, 0], [319, 239], (150, 2)).round()
        points = rng.uniform(0, 4, (150, 3))
        if pose is not None:
            _, depth = self._room.render(query.camera, pose)
            columns, rows = pixels.astype(int).T
            points = transform_points(pose, back_project(depth, query.camera)[rows, columns])
        yield [Hypothesis(self.name, "it", pixels, points, solve_pnp(pixels, points, query.camera))]


def test_any_other_proposer_is_asked_for_each_camera(
    localizer: Localizer, room: Room, path: list[Array]
) -> None:
    body = path[BODY]
    cameras = [FRONT, LEFT]
    images: list[Image] = [np.full((240, 320, 3), number, np.uint8) for number in (1, 2)]
    poses = {number: body @ each.body_from_camera for number, each in enumerate(cameras, start=1)}
    settings = replace(localizer.settings, align=False)
    both = Localizer(localizer.map, [KnownPlace(room, poses)], settings).localize_rig(images, cameras)
    assert both.contributing == ("front", "left") and both.matcher == "known"
    assert error(both, body) < 1e-3 and both.num_inliers == 300
    one = Localizer(localizer.map, [KnownPlace(room, {2: poses[2]})], settings).localize_rig(images, cameras)
    assert one.contributing == ("left",)
    assert error(one, body) < 1e-3 and one.cameras["left"].num_inliers == 150


def test_colours_confirm_a_pose_that_inliers_do_not(
    localizer: Localizer, room: Room, path: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    never = replace(localizer.settings.views, min_inliers=10**6)
    monkeypatch.setattr(localizer, "settings", replace(localizer.settings, views=never))
    (image,) = seen(room, path[BODY], FRONT)
    found = localizer.localize_rig([BLANK, image], [LEFT, FRONT])
    assert found.agreement > 0.6 and "front" in found.contributing
    assert error(found, path[BODY]) < 0.1
    both = localizer.localize_rig(seen(room, path[BODY], LEFT, FRONT), [LEFT, FRONT])
    assert error(both, path[BODY]) < 0.05


def test_bad_input_is_named(localizer: Localizer) -> None:
    with pytest.raises(InputError, match="1 images, 2 cameras and 2 depths"):
        localizer.localize_rig([BLANK], [FRONT, LEFT])
    with pytest.raises(InputError, match="camera 'left': image"):
        localizer.localize_rig([BLANK, BLANK[:100]], [FRONT, LEFT])
    with pytest.raises(InputError, match="two are called 'left'"):
        localizer.localize_rig([BLANK, BLANK], [LEFT, LEFT])
    with pytest.raises(InputError, match="prior: not a finite rigid transform"):
        localizer.localize_rig([BLANK], [LEFT], prior=np.zeros((4, 4)))


def test_cameras_without_the_depth_that_a_matcher_needs_are_left_out(
    localizer: Localizer, room: Room, path: list[Array]
) -> None:
    body, cameras = path[BODY], [FRONT, LEFT]
    by_depth = Localizer(localizer.map, [RegisteredDepth(localizer.surface, needs_depth=True)])
    images = seen(room, body, *cameras)
    refused = by_depth.localize_rig(images, cameras)
    assert refused.reason == "no camera has depth, which the matcher needs" and not refused.localized
    depth = room.render(CAMERA, body @ FRONT.body_from_camera)[1]
    found = by_depth.localize_rig(images, cameras, depths=[depth, None])
    assert found.reason != refused.reason and found.cameras["left"].num_correspondences == 0
    assert error(found, body) < 0.1 and "front" in found.contributing


def test_a_doubtful_camera_is_named(localizer: Localizer, tmp_path: Path) -> None:
    corner = replace(LEFT, camera=replace(CAMERA, cx=30.0))
    found = localizer.localize_rig([BLANK, BLANK], [FRONT, corner])
    assert found.warnings and found.warnings[0].startswith("left: ")
