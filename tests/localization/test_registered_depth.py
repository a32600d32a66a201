"""Depth alone finds the camera in a cloud without colours, and refuses what it cannot tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_frames import evaluate_frames
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import in_sigmas, perturb
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.pnp import PoseEstimate
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import compose, invert, is_near, transform_points, translation_error
from diff2i2p_core.localization.depth_registration import DepthRegistration
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.registered_depth import RegisteredDepth
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.localization.verify import verify
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.mapping.map_file import MapInfo, PointMap
from diff2i2p_core.mapping.surface import Surface
from diff2i2p_core.rooms.room import Room, camera_path, make_room, write_frames
from diff2i2p_core.rooms.sensors import kinect_noise
from diff2i2p_core.typing import Array

CAMERA = Camera(320, 240, 262.5, 262.5, 159.5, 119.5)
BLACK = np.zeros((240, 320, 3), np.uint8)
SPACING = 0.03


def localizer_of(cloud: PointCloud, views: Array, *, needs_depth: bool = True) -> Localizer:
    info = cast(MapInfo, SimpleNamespace(spacing=SPACING))
    point_map = PointMap(info, cloud, views, [])
    surface = Surface(cloud, SPACING, views)
    return Localizer(point_map, [RegisteredDepth(surface, needs_depth=needs_depth)])


def measured(room: Room, pose: Array, seed: int = 0) -> NDArray[np.float32]:
    """What a depth camera at a pose in a room sees."""
    return kinect_noise(room.render(CAMERA, pose)[1], CAMERA, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(20001)


@pytest.fixture(scope="module")
def path(room: Room) -> Array:
    return np.array(camera_path(room, 60, 20001, step=0.2))


@pytest.fixture(scope="module")
def localizer(room: Room, path: Array) -> Localizer:
    """In a map of every second image of the path."""
    points = []
    for pose in path[::2]:
        seen = back_project(room.render(CAMERA, pose)[1], CAMERA)[::2, ::2].reshape(-1, 3)
        points.append(transform_points(pose, seen[seen[:, 2] > 0]))
    cloud = PointCloud(np.concatenate(points).astype(np.float32)).thinned(SPACING)
    return localizer_of(cloud, path[::2])


@pytest.mark.parametrize("number", [7, 21, 43])
def test_depth_alone_finds_the_camera(localizer: Localizer, room: Room, path: Array, number: int) -> None:
    found = localizer.localize(BLACK, CAMERA, depth=measured(room, path[number]))
    assert found.localized, found.reason
    assert found.matcher == "depth"
    assert found.map_from_camera is not None
    assert is_near(found.map_from_camera, path[number], 0.05, 1.5)
    assert found.depth_agreement > 0.9
    assert found.covariance is not None
    assert np.abs(in_sigmas(found.map_from_camera, found.covariance, path[number])).max() < 4


def test_a_prior_is_enough(localizer: Localizer, room: Room, path: Array) -> None:
    prior = perturb(path[11], np.array([0.2, -0.15, 0.1, 0.05, -0.05, 0.1]))
    found = localizer.localize(BLACK, CAMERA, depth=measured(room, path[11]), prior=prior)
    assert found.map_from_camera is not None
    assert is_near(found.map_from_camera, path[11], 0.05, 1.5)


def test_a_wrong_prior_is_refused(localizer: Localizer, room: Room, path: Array) -> None:
    """This one leads to a place 2 m away that looks similar."""
    turned = perturb(path[11], np.array([0, 0, 0, 0, 0, np.pi / 2]))
    found = localizer.localize(BLACK, CAMERA, depth=measured(room, path[11]), prior=turned)
    assert not found.localized
    assert found.covariance is None
    assert "m from the prior" in found.reason


def test_another_room_is_refused(localizer: Localizer) -> None:
    other = make_room(20002)
    for pose in camera_path(other, 12, 20002)[::4]:
        assert not localizer.localize(BLACK, CAMERA, depth=measured(other, pose)).localized


def test_parallel_normals_tell_nearby_poses_apart(localizer: Localizer, room: Room, path: Array) -> None:
    """On a floor, points stay close to the map wherever the camera is turned."""
    query = Query.of(BLACK, CAMERA, LocalizerSettings(), depth=measured(room, path[21]))
    registration = DepthRegistration.of(query, localizer.surface)
    assert registration is not None
    right, turned = (
        registration.judged(perturb(path[21], np.array([0, 0, 0, *turn])))
        for turn in (np.zeros(3), [0, 0, 0.1])
    )
    assert turned.likeness / right.likeness < 0.9 * turned.closeness / right.closeness


def test_colours_come_before_depth_near_a_prior(localizer: Localizer, room: Room, path: Array) -> None:
    """They are more exact. Without colours, depth is the fastest."""
    asked = list[str]()

    class Other(RegisteredDepth):
        name = "other"

        def propose(self, query: Query) -> Iterator[list[Hypothesis]]:
            asked.append(self.name)
            return iter(())

    cloud = localizer.map.cloud
    for colors in (None, np.zeros((len(cloud.points), 3), np.uint8)):
        asked.clear()
        with_depth = localizer_of(replace(cloud, colors=colors), path[::2], needs_depth=False)
        proposers = [Other(with_depth.surface), *with_depth.proposers]
        both = Localizer(with_depth.map, proposers)
        found = both.localize(BLACK, CAMERA, depth=measured(room, path[11]), prior=path[11])
        assert found.matcher == "depth"
        assert bool(asked) == (colors is not None)


def corridor_depth() -> NDArray[np.float32]:
    """Along a corridor that is 2 m wide and 2.4 m high, from its middle; nothing is seen beyond 5 m."""
    v, u = np.indices((CAMERA.height, CAMERA.width))
    x, y = np.abs(u - CAMERA.cx) / CAMERA.fx, np.abs(v - CAMERA.cy) / CAMERA.fy
    depth = np.minimum(1.0 / np.maximum(x, 1e-6), 1.2 / np.maximum(y, 1e-6)).astype(np.float32)
    return kinect_noise(np.where(depth < 5, depth, 0), CAMERA, np.random.default_rng(0))


@pytest.fixture(scope="module")
def corridor() -> Localizer:
    """24 m long; the camera looks along z."""
    along, across, up = np.arange(-10, 14, 0.03), np.arange(-1, 1, 0.03), np.arange(-1.2, 1.2, 0.03)
    walls = [(side, y, z) for side in (-1, 1) for y in up for z in along]
    floors = [(x, side, z) for side in (-1.2, 1.2) for x in across for z in along]
    noise = np.random.default_rng(0).normal(0, 0.005, (len(walls) + len(floors), 3))
    cloud = PointCloud((np.array(walls + floors) + noise).astype(np.float32))
    return localizer_of(cloud, np.array([compose(np.eye(3), [0, 0, z]) for z in range(-6, 8)]))


@pytest.mark.parametrize("prior", [None, compose(np.eye(3), [0.05, 0, 0.3])])
def test_a_corridor_does_not_tell_where_the_camera_is(corridor: Localizer, prior: Array | None) -> None:
    found = corridor.localize(BLACK, CAMERA, depth=corridor_depth(), prior=prior)
    assert not found.localized
    assert found.reason.startswith("ambiguous")


def test_depth_is_asked_for(localizer: Localizer) -> None:
    with pytest.raises(InputError, match="needs the query's depth"):
        localizer.localize(BLACK, CAMERA)
    cloud = localizer.map.cloud
    both = localizer_of(cloud, localizer.map.views, needs_depth=False)
    assert both.localize(BLACK, CAMERA).reason == "nothing proposes a pose"


def test_little_depth_registers_nowhere(localizer: Localizer) -> None:
    depth = np.zeros((240, 320), np.float32)
    depth[100:110, 100:110] = 2
    assert not localizer.localize(BLACK, CAMERA, depth=depth).localized


def proposed(pose: Array, inliers: int) -> Hypothesis:
    """An image's matches that agree on a pose."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform([0, 0], [320, 240], (200, 2))
    rays = np.column_stack([(pixels - [159.5, 119.5]) / 262.5, np.ones(200)])
    points = transform_points(pose, rays * rng.uniform(1, 3, (200, 1)))
    estimate = PoseEstimate(invert(pose), np.arange(200) < inliers, inliers, 1.0, np.eye(6) * 1e-4)
    return Hypothesis("views", "view 0", pixels, points, estimate, submap=0)


@pytest.mark.parametrize("inliers", [150, 20])
def test_depth_refines_and_confirms_the_poses_of_images(
    localizer: Localizer, room: Room, path: Array, inliers: int
) -> None:
    query = Query.of(BLACK, CAMERA, LocalizerSettings(), depth=measured(room, path[21]))
    registration = DepthRegistration.of(query, localizer.surface)
    assert registration is not None
    near = perturb(path[21], np.array([0.06, 0.04, -0.05, 0.01, 0.02, 0]))
    hypothesis = proposed(near, inliers)
    assert verify(query, [hypothesis]).localized == (inliers == 150)
    found = verify(query, [hypothesis], fit=registration.fit)
    assert found.map_from_camera is not None
    assert is_near(found.map_from_camera, path[21], 0.03, 1)
    assert found.matcher == "views"


def test_poses_of_image_and_depth_are_combined_by_their_covariances(
    localizer: Localizer, room: Room, path: Array
) -> None:
    """So colours with depth are not worse than colours alone."""
    query = Query.of(BLACK, CAMERA, LocalizerSettings(), depth=measured(room, path[21]))
    registration = DepthRegistration.of(query, localizer.surface)
    assert registration is not None
    fitted = registration.fit(path[21]).map_from_camera

    def answer(pose: Array, sigma: float) -> Localization:
        hypothesis = replace(proposed(pose, 150), settled=True)  # so that no factor depends on its inliers
        assert isinstance(hypothesis.estimate, PoseEstimate)
        estimate = replace(hypothesis.estimate, covariance=np.eye(6) * (sigma / 10) ** 2)
        return verify(query, [replace(hypothesis, estimate=estimate)], fit=registration.fit)

    near = perturb(fitted, np.array([0.02, 0, 0, 0, 0, 0]))
    exact, rough = answer(near, 1e-4), answer(near, 0.05)
    assert exact.map_from_camera is not None and rough.map_from_camera is not None
    far = answer(perturb(fitted, np.array([0.1, 0, 0, 0, 0, 0])), 1e-4)
    assert far.localized and far.depth_agreement == 0  # the two contradict each other
    rough_error = translation_error(rough.map_from_camera, fitted)
    exact_error = translation_error(exact.map_from_camera, near)
    assert rough_error < 0.01
    assert exact_error < 0.001
    assert exact.covariance is not None and rough.covariance is not None
    assert np.trace(exact.covariance) < np.trace(rough.covariance)


def test_depth_refuses_a_pose_that_it_contradicts(localizer: Localizer, room: Room, path: Array) -> None:
    query = Query.of(BLACK, CAMERA, LocalizerSettings(), depth=measured(room, path[21]))
    registration = DepthRegistration.of(query, localizer.surface)
    assert registration is not None
    inside_wall = perturb(path[21], np.array([0, 0, 0, 0, 0, np.pi]))
    found = verify(query, [proposed(inside_wall, 150)], fit=registration.fit)
    assert not found.localized or found.depth_agreement == 0


def test_a_map_for_depth_needs_no_features(room: Room, path: Array, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    write_frames(frames, room, CAMERA, list(path[:20]))
    built = build_map(frames, tmp_path / "room.map", matcher="depth")
    assert built.kinds == ["depth"]
    opened = Localizer.open(tmp_path / "room.map")
    found = opened.localize(BLACK, CAMERA, depth=measured(room, path[9]))
    assert found.map_from_camera is not None
    assert is_near(found.map_from_camera, path[9], 0.05, 1.5)
    result = evaluate_frames(frames, frames, matcher="depth", query_range="5:15", limit=2)
    assert result.summary.as_dict()["recall_010m_5deg"] == 1.0


def rig_of(path: Array, numbers: tuple[int, int]) -> list[RigCamera]:
    """Two cameras, one behind the other on the path; the body is the first one's camera frame."""
    first = path[numbers[0]]
    return [RigCamera(str(number), CAMERA, invert(first) @ path[number]) for number in numbers]


def test_a_rig_is_found_by_depth_alone(localizer: Localizer, room: Room, path: Array) -> None:
    numbers = 7, 9
    depths = [measured(room, path[number]) for number in numbers]
    found = localizer.localize_rig([BLACK, BLACK], rig_of(path, numbers), depths=depths)
    assert found.map_from_body is not None
    assert is_near(found.map_from_body, path[7], 0.05, 2)


def test_a_rig_needs_depth_that_fits(localizer: Localizer) -> None:
    """The points of a registration always agree with its pose, so their number tells nothing."""
    other = make_room(20005)
    path = np.array(camera_path(other, 60, 20005, step=0.2))
    for first in (5, 20, 35, 50):
        numbers = first, first + 2
        depths = [measured(other, path[number]) for number in numbers]
        found = localizer.localize_rig([BLACK, BLACK], rig_of(path, numbers), depths=depths)
        assert found.map_from_body is None and found.reason
