"""Two cameras on one body in a map without colours: their poses are searched, and judged, together."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import exp, invert, rotation_error_deg, translation_error
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.pose_search import orbited
from diff2i2p_core.localization.rendered_views import RenderedViews
from diff2i2p_core.localization.rig_query import RigQuery
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.rig_views import RigViews
from diff2i2p_core.rooms.room import Room, camera_path, make_room, write_frames
from diff2i2p_core.typing import Array, Image

CAMERA = Camera(640, 480, 525, 525, 319.5, 239.5)
SEED = 20_008
FRONT = RigCamera("front", CAMERA, exp([0, 0, 0, 0, 0, 0.1]))
LEFT = RigCamera("left", CAMERA, exp([0, -1.2, 0, -0.1, 0, 0]))
BLANK = np.full((480, 640, 3), 180, np.uint8)
BODY = 7


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(SEED)


@pytest.fixture(scope="module")
def path(room: Room) -> list[Array]:
    return camera_path(room, 14, SEED)


@pytest.fixture(scope="module")
def localizer(room: Room, path: list[Array], tmp_path_factory: pytest.TempPathFactory) -> Localizer:
    folder = tmp_path_factory.mktemp("room")
    poses = [body @ each.body_from_camera for body in path[::2] for each in (FRONT, LEFT)]
    write_frames(folder, room, CAMERA, poses)
    return Localizer.from_frames(folder, matcher="views", colors=False)


def seen(room: Room, body: Array, *cameras: RigCamera) -> list[Image]:
    return [room.render(CAMERA, body @ each.body_from_camera)[0].astype(np.uint8) for each in cameras]


def is_right(answer: RigLocalization, body: Array) -> bool:
    pose = answer.map_from_body
    return pose is not None and translation_error(pose, body) < 0.1 and rotation_error_deg(pose, body) < 5


def test_both_cameras_give_one_pose(localizer: Localizer, room: Room, path: list[Array]) -> None:
    cameras = [FRONT, LEFT]
    found = localizer.localize_rig(seen(room, path[BODY], *cameras), cameras)
    assert is_right(found, path[BODY]), found.reason
    assert found.contributing == ("front", "left") and "search" in found.latency_ms


@pytest.mark.parametrize("blind", [BLANK, None], ids=["blank", "another room"])
def test_a_camera_that_sees_nothing_useful_does_no_harm(
    localizer: Localizer, room: Room, path: list[Array], blind: Image | None
) -> None:
    (image,) = seen(room, path[BODY], FRONT)
    if blind is None:
        other = make_room(20_011)
        (blind,) = seen(other, camera_path(other, 5, 1)[2], FRONT)
    found = localizer.localize_rig([blind, image], [LEFT, FRONT])
    assert is_right(found, path[BODY]), found.reason
    assert found.contributing == ("front",)


def test_near_a_prior_nothing_is_searched(localizer: Localizer, room: Room, path: list[Array]) -> None:
    cameras = [FRONT, LEFT]
    prior = path[BODY] @ exp([0.02, -0.03, 0, 0.08, 0, -0.08])
    found = localizer.localize_rig(seen(room, path[BODY], *cameras), cameras, prior=prior)
    assert is_right(found, path[BODY]), found.reason
    assert "search" not in found.latency_ms


def test_images_of_another_room_are_refused(localizer: Localizer) -> None:
    other = make_room(20_011)
    images = seen(other, camera_path(other, 5, 3)[2], FRONT, LEFT)
    assert not localizer.localize_rig(images, [FRONT, LEFT]).localized


@pytest.mark.parametrize("leader", [FRONT, LEFT], ids=lambda each: each.name)
def test_the_search_leads_back_from_an_orbit(
    localizer: Localizer, room: Room, path: list[Array], leader: RigCamera
) -> None:
    """From 7 degrees beside, about what one of the cameras sees."""
    cameras, body = [FRONT, LEFT], path[BODY]
    (views,) = (each for each in localizer.proposers if isinstance(each, RenderedViews))
    settings = localizer.settings.for_look("geometry")
    search = RigViews(views, RigQuery.of(seen(room, body, *cameras), cameras, settings))
    start = orbited(body @ leader.body_from_camera, 0, 0.12, 2.0) @ invert(leader.body_from_camera)
    hypothesis = search.rendered(start, "a pose beside the right one")
    assert hypothesis.map_from_body is not None and not hypothesis.doubt
    assert translation_error(hypothesis.map_from_body, body) < 0.05 < translation_error(start, body)
