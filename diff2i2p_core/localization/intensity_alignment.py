"""Aligns a pose until an image agrees with the intensity of a lidar's points, and says how well they agree.

Patches of the points say by how much they are beside where the image shows them (`patch_shifts`). A pose is
fitted to the shifts of all patches such that those of moving traffic, and those that match by chance, do not
count (iteratively reweighted least squares). This is repeated from coarse to fine. At the end, many patches
agree with a right pose, and few with a wrong one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb, reprojection
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.patch_shifts import GreyPicture, PatchShifts, patch_shifts
from diff2i2p_core.ops.render_scan import seen_in_scan
from diff2i2p_core.typing import Array, Image

MIN_SEEN, MAX_SEEN = 300, 20000
"""Of the visible points: at least, and if there are more, evenly thinned to so many."""
MIN_PATCHES = 12
VISIBILITY_FOCAL = 620.0
"""Of the picture in which points hide others, in pixels."""
SPREAD = np.array([0.5, 0.5, 0.5, 0.05, 0.05, 0.05])
"""Metres and radians: standard deviations of a start."""
REWEIGHTED = 10
"""Times."""
BY_CHANCE = 0.12
"""Fraction of the patches that agree with wrong poses, after alignment."""
MOST_TRUSTED = 4.0
"""Maximum information of a patch, relative to the median."""


@dataclass(frozen=True)
class Level:
    focal: float
    """Of the picture, in pixels; not more than the image's."""
    blur: float
    """Standard deviation in pixels. A wide one widens the basin."""
    reach: int
    step: int
    """Patches are shifted by up to `reach` steps of `step` pixels."""
    tolerance: float
    """Pixels beyond which a patch does not agree."""
    repeats: int


LEVELS = (
    Level(310, 1.5, 5, 2, 5.0, 2),
    Level(620, 2.0, 5, 2, 6.0, 2),
    Level(620, 1.2, 5, 1, 3.0, 2),
    Level(1240, 1.2, 5, 1, 2.0, 3),
)
CHECK = Level(1240, 1.2, 8, 1, 2.0, 1)
"""The search at the end, by which the pose is judged."""


@dataclass(frozen=True)
class IntensityAlignment:
    map_from_camera: Array
    patches: int
    """Number of patches that were compared."""
    agreeing: int
    """Number of these that agree with the pose."""
    covariance: Array
    """(6, 6), ROS order. It assumes independent points."""

    @property
    def agreement(self) -> float:
        """Fraction of the patches that agree with the pose."""
        return self.agreeing / self.patches

    @property
    def significance(self) -> float:
        """How many standard deviations the number of agreeing patches is above that by chance."""
        deviation = math.sqrt(self.patches * BY_CHANCE * (1 - BY_CHANCE))
        return (self.agreeing - self.patches * BY_CHANCE) / deviation


class IntensityTarget:
    """An image (H, W, 3) RGB of a camera without distortion, to align clouds with intensity to."""

    def __init__(self, image: Image, camera: Camera) -> None:
        self._grey, self._camera = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), camera
        self._pictures: dict[tuple[float, float], GreyPicture] = {}

    def align(
        self, cloud: PointCloud, start: Array, depths: tuple[float, float]
    ) -> IntensityAlignment | None:
        """The pose near `start` (map_from_camera) at which the image agrees best with a cloud with intensity,
        of which points between two depths are used. None if too few points or patches are visible."""
        pose = np.asarray(start, np.float64)
        for level in LEVELS:
            for _ in range(level.repeats):
                shifts = self._shifts(cloud, pose, depths, level)
                if shifts is None:
                    return None
                step, _, _ = _fitted(shifts, pose, self._picture(level).camera, level.tolerance)
                pose = perturb(pose, step)
        shifts = self._shifts(cloud, pose, depths, CHECK)
        if shifts is None:
            return None
        _, agree, covariance = _fitted(shifts, pose, self._picture(CHECK).camera, CHECK.tolerance)
        return IntensityAlignment(pose, len(agree), int(agree.sum()), covariance)

    def _picture(self, level: Level) -> GreyPicture:
        """Computed once."""
        key = level.focal, level.blur
        if key not in self._pictures:
            camera = scaled_to_focal(self._camera, level.focal)
            size = camera.width, camera.height
            grey = cv2.resize(self._grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
            self._pictures[key] = GreyPicture(np.asarray(cv2.GaussianBlur(grey, (0, 0), level.blur)), camera)
        return self._pictures[key]

    def _shifts(
        self, cloud: PointCloud, pose: Array, depths: tuple[float, float], level: Level
    ) -> PatchShifts | None:
        """None if there are too few points or patches."""
        assert cloud.intensity is not None
        camera = scaled_to_focal(self._camera, VISIBILITY_FOCAL)
        seen, _, _ = seen_in_scan(cloud.points, invert(pose), camera, *depths)
        seen = seen[:: len(seen) // MAX_SEEN + 1]
        if len(seen) < MIN_SEEN:
            return None
        points, intensity = (x[seen].astype(np.float64) for x in (cloud.points, cloud.intensity))
        shifts = patch_shifts(self._picture(level), points, intensity, pose, level.reach, level.step)
        return shifts if np.count_nonzero(shifts.settled) >= MIN_PATCHES else None


def scaled_to_focal(camera: Camera, focal: float) -> Camera:
    """The camera of a smaller image with this focal length; itself if it has less."""
    scale = min(2 * focal / (camera.fx + camera.fy), 1.0)
    return camera.scaled_to(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))


def _fitted(
    shifts: PatchShifts, pose: Array, camera: Camera, tolerance: float
) -> tuple[Array, NDArray[np.bool_], Array]:
    """The step (6,) for `perturb` that fits the shifts best, which of the patches agree with it, and its
    covariance (6, 6)."""
    _, _, jacobian = reprojection(pose, shifts.points, camera)
    known = np.linalg.eigvalsh(shifts.information)[:, 1]
    # Many points on one reflector are not more exact than a few.
    trusted = np.minimum(1, MOST_TRUSTED * np.median(known) / known) * shifts.settled
    information = trusted[:, None, None] * shifts.information
    by_pose = np.einsum("kai,kab->kib", jacobian, information)
    step, hessian, distance = np.zeros(6), np.eye(6), np.zeros(0)
    for _ in range(REWEIGHTED):
        residual = jacobian @ step - shifts.shifts
        distance = np.sqrt(np.einsum("ka,kab,kb->k", residual, shifts.information, residual) / known)
        weight = 1 / (1 + (distance / tolerance) ** 2) ** 2
        hessian = np.einsum("k,kib,kbj->ij", weight, by_pose, jacobian) + np.diag(1 / SPREAD**2)
        step = np.linalg.solve(hessian, np.einsum("k,kib,kb->i", weight, by_pose, shifts.shifts))
    return step, (distance < tolerance) & shifts.settled, np.asarray(np.linalg.inv(hessian), np.float64)
