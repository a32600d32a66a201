"""Poses aligned to the colours of a rendered room: the true pose comes back, or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import in_sigmas, perturb
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import rotation_error_deg, transform_points, translation_error
from diff2i2p_core.localization.alignment import PhotometricTarget
from diff2i2p_core.localization.settings import GateSettings
from diff2i2p_core.rooms.room import camera_path, make_room
from diff2i2p_core.typing import Array

CAMERA = Camera(240, 180, 200.0, 200.0, 119.5, 89.5)
VOXEL = 0.03
OFF = np.array([0.12, -0.08, 0.06, 0.05, -0.06, 0.04])
"""A start's error: 16 cm and 5 degrees."""


@dataclass(frozen=True)
class Scene:
    image: NDArray[np.uint8]
    pose: Array
    cloud: PointCloud

    def align(self, start: Array, image: NDArray[np.uint8] | None = None):  # type: ignore[no-untyped-def]
        target = PhotometricTarget(self.image if image is None else image, CAMERA)
        return target.align(start, self.cloud, VOXEL)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A room, mapped from views other than the image's."""
    room = make_room(5)
    path = camera_path(room, 13, 5)
    points, colors = [], []
    for number in range(0, 13, 2):
        image, depth = room.render(CAMERA, path[number])
        points.append(transform_points(path[number], back_project(depth, CAMERA).reshape(-1, 3)))
        colors.append(image.reshape(-1, 3))
    cloud = PointCloud(np.concatenate(points).astype(np.float32), np.concatenate(colors)).thinned(VOXEL)
    return Scene(room.render(CAMERA, path[5])[0], path[5], cloud)


def test_a_pose_comes_back(scene: Scene) -> None:
    found = scene.align(perturb(scene.pose, OFF))
    assert found is not None and found.agreement > 0.9 and found.coverage > 0.5
    assert translation_error(found.map_from_camera, scene.pose) < 0.02
    assert rotation_error_deg(found.map_from_camera, scene.pose) < 0.6
    assert (np.linalg.eigvalsh(found.covariance) > 0).all()
    assert np.abs(in_sigmas(found.map_from_camera, found.covariance, scene.pose)).max() < 100


def test_different_starts_end_at_the_same_pose(scene: Scene) -> None:
    """Within a millimetre: the rounding of the start in half precision must not affect the answer."""
    ends = [scene.align(perturb(scene.pose, OFF * scale)) for scale in (0.5, 0.45, -0.4, -0.45)]
    poses = [end.map_from_camera for end in ends if end is not None]
    assert len(poses) == 4
    assert max(translation_error(pose, poses[0]) for pose in poses) < 0.001
    assert max(rotation_error_deg(pose, poses[0]) for pose in poses) < 0.05


def test_poses_stay_rigid_from_image_to_image(scene: Scene) -> None:
    """Each start is the previous answer: rounding errors must not grow from image to image."""
    pose = scene.pose
    for _ in range(4):
        found = scene.align(perturb(pose, OFF / 4))
        assert found is not None
        pose = found.map_from_camera
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)


def test_exposure_and_white_balance_of_the_image_do_not_matter(scene: Scene) -> None:
    changed = np.clip(scene.image * np.array([0.5, 0.6, 0.8]) + 30, 0, 255).astype(np.uint8)
    found = scene.align(perturb(scene.pose, OFF), changed)
    assert found is not None and found.agreement > 0.9
    assert translation_error(found.map_from_camera, scene.pose) < 0.02


def side_light(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return dimmed(image, np.geomspace(1, 1 / 12, CAMERA.width)[None])


def shadow(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A hard shadow over the half of the image below its diagonal."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    return dimmed(image, np.where(u * CAMERA.height > v * CAMERA.width, 1, 0.2))


def passer_by(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    hidden: NDArray[np.uint8] = image.copy()
    hidden[:, 100:135] = (90, 60, 50)
    return hidden


def dimmed(image: NDArray[np.uint8], light: Array) -> NDArray[np.uint8]:
    """The image in other light (H, W), with a camera's gamma of 2.2."""
    return np.asarray(np.rint(image * light[..., None] ** (1 / 2.2)), np.uint8)


@pytest.mark.parametrize("change", [side_light, shadow, passer_by])
def test_other_light_and_something_in_the_way_are_tolerated(
    scene: Scene, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    found = scene.align(perturb(scene.pose, OFF / 2), change(scene.image))
    assert found is not None and found.agreement > GateSettings().min_agreement
    assert translation_error(found.map_from_camera, scene.pose) < 0.03
    assert rotation_error_deg(found.map_from_camera, scene.pose) < 0.8


def test_the_image_of_another_place_does_not_agree(scene: Scene) -> None:
    other = make_room(6)
    image, _ = other.render(CAMERA, camera_path(other, 1, 6)[0])
    found = scene.align(scene.pose, image)
    assert found is None or found.agreement < 0.5


def test_without_contrast_or_overlap_nothing_is_aligned(scene: Scene) -> None:
    assert scene.align(scene.pose, np.full_like(scene.image, 90)) is None
    grey = replace(
        scene, cloud=PointCloud(scene.cloud.points, np.full_like(scene.cloud.points, 90, np.uint8))
    )
    assert grey.align(scene.pose) is None
    away = scene.pose.copy()
    away[:3, 3] += 100
    assert scene.align(away) is None


def test_a_pose_that_would_move_too_far_is_given_up(scene: Scene) -> None:
    start = perturb(scene.pose, OFF)
    target = PhotometricTarget(scene.image, CAMERA)
    assert target.align(start, scene.cloud, VOXEL, max_metres=0.05) is None
