"""The search for the pose from which the map looks most like the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import pytest
import torch

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import NoPose, PoseEstimate
from diff2i2p_core.geometry.se3 import exp, invert, rotation_error_deg, translation_error
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.pose_search import Best, Compare, ImageGrid, Likeness, Surroundings, orbited
from diff2i2p_core.localization.rendering_again import INDISTINCT, RESTLESS, searched
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.models.geometry_features import STRIDE, GeometryFeatures
from diff2i2p_core.rooms.room import Room, camera_path, make_room
from diff2i2p_core.typing import Array
from diff2i2p_core.weights.geometry import load_geometry

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
WALL = 2.0
MANY = np.ones(200, bool)
CPU = torch.device("cpu")


def each(compare: Callable[[Array], Likeness | None]) -> Compare:
    return lambda poses: [compare(pose) for pose in poses]


def unknown(pose: Array) -> Best:
    """A pose that was found, without knowing what is beside it."""
    return Best(pose, 0.2, pose, 0.0)


def patterns(seed: int = 0) -> torch.Tensor:
    """Smooth descriptors (60, 80, 8)."""
    noise = torch.randn(1, 8, 15, 20, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, (60, 80), mode="bicubic")[0].permute(1, 2, 0)
    return torch.nn.functional.normalize(smooth, dim=2)


@pytest.mark.parametrize("cells", [(0, 0), (1, 0), (0, -1), (-1, 1)])
def test_the_offset_of_an_image_is_found(cells: tuple[int, int]) -> None:
    image, certain = patterns(), torch.ones(60, 80)
    shifted = torch.roll(image, (-cells[1], -cells[0]), (0, 1))
    found = ImageGrid(image, certain).likeness(shifted, certain)
    assert found is not None
    assert found.offset == pytest.approx([STRIDE * cells[0], STRIDE * cells[1]], abs=0.4 * STRIDE)
    other = ImageGrid(image, certain).likeness(patterns(1), certain)
    assert other is not None and other.value < 0.3 * found.value


def waves(angle: float) -> torch.Tensor:
    """Descriptors (60, 80, 16) of waves in different directions, all turned clockwise about the middle."""
    down, right = np.mgrid[:60, :80] - np.array([29.5, 39.5])[:, None, None]
    x, y = right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)
    rng = np.random.default_rng(0)
    each = [np.sin(u * x + v * y + at) for u, v, at in rng.uniform(-0.5, 0.5, (16, 3)) * [1, 1, 6]]
    return torch.nn.functional.normalize(torch.from_numpy(np.stack(each, axis=2)).float(), dim=2)


@pytest.mark.parametrize("angle", [-0.04, 0.0, 0.03])
def test_the_roll_of_an_image_is_found(angle: float) -> None:
    certain = torch.ones(60, 80)
    found = ImageGrid(waves(angle), certain).likeness(waves(0.0), certain)
    assert found is not None and found.roll == pytest.approx(angle, abs=0.012)
    assert found.offset == pytest.approx([0, 0], abs=0.5)


def test_a_rolled_pose_becomes_upright() -> None:
    """The camera is turned clockwise, so its image is turned the other way, and an upright image clockwise
    against it."""
    truth, turned = np.eye(4), exp([0, 0, 0.08, 0, 0, 0])

    def compare(pose: Array) -> Likeness:
        roll = np.arctan2(pose[1, 0], pose[0, 0])
        return Likeness(1 - roll**2 - translation_error(pose, truth), (0, 0), np.clip(roll, -0.05, 0.05))

    found = Surroundings(each(compare), WALL, CAMERA, CPU).best(turned).pose
    assert rotation_error_deg(found, truth) < 1.0 < rotation_error_deg(turned, truth)


def test_what_a_whole_wall_has_in_common_does_not_count() -> None:
    image, certain = patterns(), torch.ones(60, 80)
    wall = torch.nn.functional.normalize(torch.ones(60, 80, 8), dim=2)
    found = ImageGrid(wall, certain).likeness(wall, certain)
    assert found is not None and abs(found.value) < 1e-5
    assert ImageGrid(image, certain).likeness(image, 0 * certain) is None


def test_only_reliable_cells_count() -> None:
    image, left = patterns(), torch.zeros(60, 80)
    left[:, :40] = 1
    half = image.clone()
    half[:, 42:] = patterns(1)[:, 42:]
    of_half, of_all = (ImageGrid(image, left).likeness(each, torch.ones(60, 80)) for each in (half, image))
    assert of_half is not None and of_all is not None and of_half.value == pytest.approx(of_all.value)


@pytest.mark.parametrize(("axis", "size"), [(0, 0.2), (1, -0.15), (2, 0.1)])
def test_the_best_pose_is_found(axis: int, size: float) -> None:
    """By a value that falls with the square of the distance, and the offsets that turns give."""
    truth = np.eye(4)

    def compare(pose: Array) -> Likeness:
        there = invert(truth) @ pose
        ahead = there[:3, :3] @ [0, 0, WALL] + there[:3, 3]  # where the camera looks at
        offset = CAMERA.fx * ahead[0] / ahead[2], CAMERA.fy * ahead[1] / ahead[2]
        apart = translation_error(pose, truth)
        return Likeness(1 - apart**2, offset)

    start = orbited(truth, axis, size, WALL)
    found = Surroundings(each(compare), WALL, CAMERA, CPU).best(start).pose
    assert translation_error(found, truth) < 0.2 * translation_error(start, truth)
    assert rotation_error_deg(found, truth) < 2.5


def test_a_pose_that_sees_nothing_stays() -> None:
    around = Surroundings(each(lambda pose: None), WALL, CAMERA, CPU)
    found = around.best(np.eye(4))
    assert (found.pose == np.eye(4)).all() and found.value == found.drop == 0
    assert around.beside(np.eye(4), found) == (False, None)


@pytest.mark.parametrize("flat", [None, 0, 1])
@pytest.mark.parametrize("size", [0.0, 0.1])
def test_a_pose_is_distinct_if_the_map_looks_less_like_the_image_from_orbits_beside_it(
    flat: int | None, size: float
) -> None:
    """`flat` is the axis of the orbits on which the value stays."""
    truth = np.eye(4)

    def compare(pose: Array) -> Likeness:
        apart = pose[:3, 3].copy()
        if flat is not None:
            apart[flat] = 0
        return Likeness(0.2 * (1 - float(apart @ apart)), (0, 0))

    around = Surroundings(each(compare), WALL, CAMERA, CPU)
    distinct, _ = around.beside(orbited(truth, 0, size / 10, WALL), unknown(truth))
    assert distinct == (flat is None)
    distinct, better = around.beside(orbited(truth, 0, 0.16, WALL), unknown(truth))
    assert not distinct, "it is better on one side"
    if flat is None:
        assert better is not None and translation_error(better.pose, truth) < 0.03


@pytest.mark.parametrize("other", [0.18, 0.22])
def test_a_pose_is_not_distinct_if_the_likeness_rises_again_beyond_a_dip(other: float) -> None:
    """At a pose 0.2 rad beside, the map looks a little less like the image, or a little more."""
    truth = orbited(np.eye(4), 0, 0.2, WALL)

    def compare(pose: Array) -> Likeness:
        here, there = (translation_error(pose, each) / (0.13 * WALL) for each in (np.eye(4), truth))
        return Likeness(max(0.2 * np.exp(-(here**2)), other * np.exp(-(there**2))), (0, 0))

    around = Surroundings(each(compare), WALL, CAMERA, CPU)
    distinct, better = around.beside(np.eye(4), unknown(np.eye(4)))
    assert distinct == (other < 0.2)
    if not distinct:
        assert better is not None and translation_error(better.pose, truth) < 0.1
        assert around.beside(truth, better)[0], "that one is"


@pytest.mark.parametrize("width", [0.1, 0.5])
@pytest.mark.parametrize("moved", [0.0, 0.1])
def test_what_the_search_has_seen_is_not_rendered_again(width: float, moved: float) -> None:
    """If the likeness fell clearly on the orbits of its last round, and the match did not move the pose."""
    asked: list[Array] = []

    def compare(pose: Array) -> Likeness:
        asked.append(pose)
        return Likeness(0.2 * np.exp(-((translation_error(pose, np.eye(4)) / (width * WALL)) ** 2)), (0, 0))

    around = Surroundings(each(compare), WALL, CAMERA, CPU)
    found = around.best(orbited(np.eye(4), 0, 0.02, WALL))
    assert translation_error(found.pose, np.eye(4)) < 0.02 and (found.drop > 0.5) == (width == 0.1)
    asked.clear()
    distinct, _ = around.beside(orbited(found.pose, 0, moved, WALL), found)
    assert (not asked) == (width == 0.1 and not moved)
    assert distinct == (not moved)


def test_a_pose_to_which_the_last_round_moved_is_looked_at_once_more() -> None:
    """That round looked around another pose, from where the rival was not seen."""
    rival = orbited(np.eye(4), 0, 0.17, WALL)

    def compare(pose: Array) -> Likeness:
        near, far = (translation_error(pose, each) / (0.08 * WALL) for each in (np.eye(4), rival))
        return Likeness(max(0.21 * np.exp(-(near**2)), 0.2 * np.exp(-(far**2))), (0, 0))

    around = Surroundings(each(compare), WALL, CAMERA, CPU)
    clear = Best(np.eye(4), 0.21, orbited(np.eye(4), 0, -0.08, WALL), 0.5)
    assert not around.beside(np.eye(4), clear)[0]
    assert around.beside(np.eye(4), clear._replace(middle=np.eye(4)))[0], "believed, where it has looked"


class Around:
    """`Surroundings` that say what they are told."""

    def __init__(self, best: Array, beside: Sequence[tuple[bool, Array | None]]) -> None:
        self._best, self._beside = unknown(best), list(beside)

    def best(self, pose: Array) -> Best:
        return self._best

    def beside(self, pose: Array, found: Best) -> tuple[bool, Best | None]:
        distinct, better = self._beside.pop(0)
        return distinct, None if better is None else unknown(better)


def hypothesis(pose: Array | None, agreement: float = 0.6) -> Hypothesis:
    pose_or_none = NoPose("none") if pose is None else PoseEstimate(invert(pose), MANY, 200, 1.0, np.eye(6))
    pixels, points = np.zeros((200, 2)), np.zeros((200, 3))
    return Hypothesis("views", "view 0", pixels, points, pose_or_none, agreement=agreement)


def found_from(
    start: Array, best: Array, beside: Sequence[tuple[bool, Array | None]], agreement: float = 0.6
) -> tuple[Hypothesis, list[Array]]:
    """What is found, and from where it was matched; matches confirm each pose."""
    asked: list[Array] = []

    def matched_from(pose: Array) -> Hypothesis:
        asked.append(pose)
        return hypothesis(pose, agreement)

    around = cast(Surroundings, Around(best, beside))
    return search(start, around, matched_from), asked


def search(start: Array, around: Surroundings, matched_from: Callable[[Array], Hypothesis]) -> Hypothesis:
    return searched(LocalizerSettings().shapes, start, around, matched_from, lambda found: found.pose)


@pytest.mark.parametrize(
    ("axis", "size", "far"), [(0, 0.1, False), (0, 0.14, True), (2, 0.1, False), (2, 0.2, True)]
)
@pytest.mark.parametrize("distinct", [True, False])
def test_a_pose_that_a_search_moves_far_or_that_is_not_distinct_is_not_trusted(
    axis: int, size: float, far: bool, distinct: bool
) -> None:
    start = np.eye(4)
    best = orbited(start, axis, size, WALL)
    found, asked = found_from(start, best, [(distinct, None)])
    assert found.doubt == (RESTLESS if far else "" if distinct else INDISTINCT) and len(asked) == 1


def test_a_pose_that_is_not_distinct_is_left_for_a_better_one_once() -> None:
    start, better = np.eye(4), orbited(np.eye(4), 0, 0.2, WALL)
    found, asked = found_from(start, start, [(False, better), (True, None)])
    assert found.doubt == "" and len(asked) == 2
    assert found.map_from_camera is not None
    assert translation_error(found.map_from_camera, better) < 1e-9, "far from the start, but not from here"
    found, asked = found_from(start, start, [(False, better), (False, start)])
    assert found.doubt == INDISTINCT and len(asked) == 2


def test_nothing_is_rendered_beside_poses_that_are_refused_anyway() -> None:
    found, _ = found_from(np.eye(4), np.eye(4), [], agreement=0.2)
    assert found.doubt == ""
    around = cast(Surroundings, Around(np.eye(4), []))
    assert search(np.eye(4), around, lambda pose: hypothesis(None)).doubt == ""
    doubted = replace(hypothesis(np.eye(4)), doubt=RESTLESS)
    assert search(np.eye(4), around, lambda pose: doubted) is doubted


def of_room(
    room: Room, model: GeometryFeatures, grid: ImageGrid, poses: Sequence[Array]
) -> list[Likeness | None]:
    depths = [room.scene.render(CAMERA, pose)[1].astype(np.float32) for pose in poses]
    return [grid.likeness(*seen) for seen in zip(*model.describe_depths_densely(depths, CAMERA), strict=True)]


def test_poses_on_an_orbit_come_back() -> None:
    """From 8 degrees beside, about the middle of what is seen, in a room that the weights do not know."""
    room, model = make_room(20_003), load_geometry()
    before, after = [], []
    for truth in camera_path(room, 3, 20_003):
        picture, depth = room.scene.render(CAMERA, truth)
        distance = float(np.median(depth))
        image = model.describe_image(np.rint(picture).astype(np.uint8), 10)
        compare = partial(of_room, room, model, ImageGrid.of(image))
        for axis, size in ((0, 0.14), (1, -0.14)):
            start = orbited(truth, axis, size, distance)
            found = Surroundings(compare, distance, CAMERA, CPU).best(start).pose
            before.append(translation_error(start, truth))
            after.append(translation_error(found, truth))
    assert np.median(after) < 0.25 * np.median(before)
