"""Shifts of patches of a lidar's points, and the alignment that is fitted to them."""

from __future__ import annotations

import cv2
import numpy as np

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.localization.patch_shifts import GreyPicture, PatchShifts, patch_shifts
from diff2i2p_core.typing import Array

CAMERA = Camera(480, 320, 400, 400, 239.5, 159.5)
DEPTH = 10.0


def texture(seed: int = 0) -> Array:
    """Grey values (H, W) with edges in all directions."""
    coarse = np.random.default_rng(seed).uniform(30, 220, (40, 60)).astype(np.float32)
    size = CAMERA.width, CAMERA.height
    return np.asarray(
        cv2.GaussianBlur(cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST), (0, 0), 1.0)
    )


def scanned(intensity_at: Array, step: int = 2) -> tuple[Array, Array]:
    """Points of a wall at every other pixel, and their intensities."""
    v, u = (x.ravel() for x in np.mgrid[10 : CAMERA.height - 10 : step, 10 : CAMERA.width - 10 : step])
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(len(u))], axis=1)
    return DEPTH * rays, intensity_at[v, u].astype(np.float64)


def shifts_of(picture: Array, seen: Array, reach: int = 6, step: int = 2) -> PatchShifts:
    points, intensity = scanned(seen, step)
    grey = GreyPicture(np.ascontiguousarray(picture, np.float32), CAMERA)
    return patch_shifts(grey, points, intensity, np.eye(4), reach, 1)


def moved(picture: Array, right: float, down: float) -> Array:
    motion = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return np.asarray(cv2.warpAffine(picture, motion, (CAMERA.width, CAMERA.height)))


def test_a_shift_is_found_whatever_the_response_of_the_lidar() -> None:
    grey = texture()
    seen = grey.copy()
    seen[:, 240:] = 255 - grey[:, 240:]  # dark for the lidar what is bright for the camera
    found = shifts_of(moved(grey, 3.4, -2.0), seen)
    away = np.abs(found.shifts - [3.4, -2.0]).max(axis=1)
    assert len(away) > 50 and np.mean(away < 0.3) > 0.9
    assert found.settled.mean() > 0.9


def test_a_lane_mark_fixes_one_direction() -> None:
    marks = np.full((CAMERA.height, CAMERA.width), 60.0)
    marks[:, 100::80] = marks[:, 101::80] = marks[:, 102::80] = 200
    found = shifts_of(moved(marks, 2.0, 0.0), marks)
    assert len(found.shifts) > 20
    assert np.median(np.abs(found.shifts[:, 0] - 2)) < 0.2
    assert np.median(found.information[:, 0, 0] / found.information[:, 1, 1]) > 100


def test_without_contrast_there_are_no_shifts_and_without_likeness_random_ones() -> None:
    grey = texture()
    assert len(shifts_of(grey, np.full_like(grey, 80)).shifts) == 0
    assert np.mean(np.abs(shifts_of(grey, texture(1)).shifts).max(axis=1) < 2) < 0.2


def test_more_points_than_opencv_takes_in_a_row() -> None:
    grey = texture()
    assert len(scanned(grey, 1)[0]) > 100_000
    found = shifts_of(moved(grey, 1.0, 1.0), grey, reach=2, step=1)
    assert np.median(np.abs(found.shifts - 1)) < 0.2
