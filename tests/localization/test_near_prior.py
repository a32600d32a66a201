"""Poses near a prior in a cloud with intensity only: matches around the prediction, and the alignment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert, rotation_error_deg, translation_error
from diff2i2p_core.io.clouds import read_cloud
from diff2i2p_core.io.image_files import read_image
from diff2i2p_core.localization.gates import disagreement
from diff2i2p_core.localization.intensity_alignment import IntensityTarget
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.near_matches import match_near
from diff2i2p_core.localization.register import register
from diff2i2p_core.localization.settings import NearSettings
from diff2i2p_core.mapping.describe import GRID, GridFeatures
from diff2i2p_core.models.xfeat import XFeat, dense_features, descriptors_at, detect
from diff2i2p_core.typing import Array, Image

CAMERA = Camera(480, 320, 400, 400, 239.5, 159.5)


def pattern(x: Array, y: Array, seed: int = 0) -> Array:
    """Shades 0-1 of a ground with patches of many sizes."""
    rng = np.random.default_rng(seed)
    shade = np.zeros_like(x)
    for scale in (0.7, 1.5, 3.0):
        table = rng.uniform(0, 1, (64, 64))
        shade += table[np.floor(x / scale).astype(int) % 64, np.floor(y / scale).astype(int) % 64]
    return shade / 3


def road(seed: int = 0) -> tuple[PointCloud, Image]:
    """Scan lines on a ground 1.5 m below the camera and on a wall 30 m ahead, and the image. On one side,
    what is bright in one is dark in the other."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width].astype(float)

    def hit(u: Array, v: Array) -> tuple[Array, Array, Array]:
        x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
        z = np.minimum(np.where(y > 1e-6, 1.5 / np.maximum(y, 1e-6), 1e9), 30.0)
        points = np.stack([x * z, y * z, z], -1)
        along = np.where(z < 29.999, z, points[..., 1] + 40)
        side = pattern(points[..., 0] + 100, along, seed)
        return points, side, np.where(points[..., 0] > 2, 1 - side, side)

    _, _, shade = hit(u, v)
    image = np.rint(40 + 170 * cv2.GaussianBlur(shade, (0, 0), 0.7)).astype(np.uint8)
    lines, steps = np.meshgrid(np.arange(1.5, 320, 5.0), np.arange(0, 480, 1.5), indexing="ij")
    points, reflected, _ = hit(steps.ravel(), lines.ravel())
    intensity = np.rint(255 * reflected**2).astype(np.uint8)
    noisy = points + rng.normal(0, 0.01, points.shape)
    return PointCloud(noisy.astype(np.float32), intensity=intensity), np.repeat(image[..., None], 3, axis=2)


def test_keypoints_and_grid_are_sampled_at_the_same_place(xfeat_network: XFeat) -> None:
    """An image matched with itself has no offset: half a cell would be four pixels."""
    _, image = road()
    dense = dense_features(xfeat_network, image)
    v, u = np.mgrid[GRID // 2 : 320 : GRID, GRID // 2 : 480 : GRID]
    pixels = torch.from_numpy(np.stack([u.ravel(), v.ravel()], 1).astype(np.float32))
    grid = GridFeatures(
        pixels, np.column_stack([pixels.numpy(), np.ones(len(pixels))]), descriptors_at(dense, pixels)
    )
    matches = match_near(detect(dense, 1000), grid, 30.0)
    offsets = matches.points[:, :2] - matches.pixels
    assert len(offsets) > 200
    assert np.abs(offsets.mean(axis=0)).max() < 0.4 and np.abs(np.median(offsets, axis=0)).max() <= 1
    assert np.linalg.norm(offsets, axis=1).max() <= 30


def test_alignment_finds_the_pose_whatever_the_sign(xfeat_network: XFeat) -> None:
    cloud, image = road()
    start = perturb(np.eye(4), np.array([0.12, -0.05, 0.15, 0.004, -0.006, 0.005]))
    found = IntensityTarget(image, CAMERA).align(cloud, start, (0.5, 80))
    assert found is not None and found.agreement > 0.6
    assert translation_error(found.map_from_camera, np.eye(4)) < 0.06
    assert rotation_error_deg(found.map_from_camera, np.eye(4)) < 0.15
    assert (np.linalg.eigvalsh(found.covariance) > 0).all()
    other = IntensityTarget(road(1)[1], CAMERA).align(cloud, start, (0.5, 80))
    assert other is None or disagreement(other, NearSettings())
    assert IntensityTarget(image, CAMERA).align(cloud.take(slice(50)), start, (0.5, 80)) is None


def test_alignment_tolerates_traffic(xfeat_network: XFeat) -> None:
    """A third of the image shows something that the lidar saw elsewhere."""
    cloud, image = road()
    hidden = image.copy()
    hidden[140:, 160:320] = np.roll(image, 40, axis=1)[140:, 160:320]
    start = perturb(np.eye(4), np.array([0.1, -0.05, 0.1, 0.004, -0.006, 0.005]))
    found = IntensityTarget(hidden, CAMERA).align(cloud, start, (0.5, 80))
    assert found is not None and not disagreement(found, NearSettings())
    assert translation_error(found.map_from_camera, np.eye(4)) < 0.06
    assert rotation_error_deg(found.map_from_camera, np.eye(4)) < 0.2


def test_a_scan_is_registered_from_a_prior(xfeat_network: XFeat) -> None:
    cloud, image = road()
    prior = perturb(np.eye(4), np.array([0.25, 0.1, -0.3, 0.02, -0.03, 0.01]))
    found = register(cloud, image, CAMERA, prior=prior)
    assert found.map_from_camera is not None and found.matcher == "views"
    assert translation_error(found.map_from_camera, np.eye(4)) < 0.1
    assert rotation_error_deg(found.map_from_camera, np.eye(4)) < 0.25
    assert found.agreement > 0.6 and found.covariance is not None


@pytest.mark.slow
def test_foreign_images_and_far_priors_are_refused(xfeat_network: XFeat) -> None:
    cloud, image = road()
    prior = perturb(np.eye(4), np.array([0.25, 0.1, -0.3, 0.02, -0.03, 0.01]))
    localizer = Localizer.around(cloud, prior)
    assert not localizer.localize(road(1)[1], CAMERA, prior=prior).localized
    far = perturb(np.eye(4), np.array([3.0, 0.5, -4.0, 0.1, 0.3, 0.1]))
    assert not register(cloud, image, CAMERA, prior=far).localized
    searched = localizer.localize(image, CAMERA, prior=far)  # in the whole map: it has no view near that
    assert searched.map_from_camera is None or translation_error(searched.map_from_camera, np.eye(4)) < 0.2


def test_priors_that_cannot_be_used(xfeat_network: XFeat) -> None:
    cloud, image = road()
    with pytest.raises(InputError, match="prior: not a finite rigid transform"):
        register(cloud, image, CAMERA, prior=2 * np.eye(4))


@pytest.mark.slow
def test_a_real_scan(xfeat_network: XFeat, data_dir: Path) -> None:
    folder = data_dir / "lidar_camera" / "pair_3"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    truth = invert(np.loadtxt(folder / "camera_from_cloud.txt"))
    image = read_image(folder / "image.jpg")
    camera = Camera.from_file(str(folder / "camera.yaml"))
    localizer = Localizer.around(read_cloud(folder / "cloud.pcd"), truth)
    prior = perturb(truth, np.array([0.2, -0.25, 0.1, 0.02, -0.01, 0.03]))
    found = localizer.localize(image, camera, prior=prior)
    assert found.map_from_camera is not None
    assert translation_error(found.map_from_camera, truth) < 0.2
    assert rotation_error_deg(found.map_from_camera, truth) < 0.5
    assert not localizer.localize(np.ascontiguousarray(image[:, ::-1]), camera, prior=prior).localized
