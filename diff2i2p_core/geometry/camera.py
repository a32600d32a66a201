"""Pinhole camera with optional lens distortion. Pixels are (u, v) with centres at integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.errors import InputError, located
from diff2i2p_core.geometry.calibration import Calibration, check_fits, doubts, pinhole
from diff2i2p_core.geometry.calibration_file import read_calibration
from diff2i2p_core.geometry.distortion import lens


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels for an image of `width` x `height`.

    The distortion model and its coefficients are those of `geometry.distortion.lens`.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "none"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise InputError(f"camera: size {self.width}x{self.height} is not positive; set width and height")
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(np.isfinite(values)):
            raise InputError("camera: an intrinsic is NaN or infinite; calibrate the camera again")
        if self.fx <= 0 or self.fy <= 0:
            raise InputError(
                f"camera: focal lengths {self.fx}, {self.fy} must be positive (is it uncalibrated?)"
            )
        with located("camera"):
            model, coefficients = lens(self.distortion_model, self.distortion)
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "distortion", coefficients)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The (3, 3) intrinsic matrix K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_distorted(self) -> bool:
        return self.distortion_model != "none"

    @property
    def doubts(self) -> list[str]:
        """Why the calibration may not be that of the image, one line each."""
        return doubts(self.width, self.height, self.fx, self.fy, self.cx, self.cy)

    @classmethod
    def of(
        cls, calibration: Calibration, image: tuple[int, int] | None = None, *, rectified: bool = False
    ) -> Camera:
        """The camera of a calibration, for `image` (width, height) if the calibration has no size.

        `rectified`: of the rectified image, without distortion. InputError if the intrinsics cannot be those
        of such an image.
        """
        x, y, *_ = calibration.roi
        calibration.check_part()
        size = calibration.full_size(image)
        fx, fy, cx, cy = calibration.matrix(rectified=rectified)
        distortion = ("none", ()) if rectified else (calibration.model, tuple(calibration.d))
        camera = cls(*size, fx, fy, cx - x, cy - y, *distortion)
        if not calibration.is_part:
            check_fits(*size, fx, fy, cx, cy)
        columns, rows = calibration.binning
        binned = size[0] // columns, size[1] // rows
        return camera if binned == size else camera.scaled_to(*binned)

    @classmethod
    def from_matrix(cls, matrix: ArrayLike, width: int, height: int) -> Camera:
        """A pinhole camera from its intrinsic matrix K (3, 3)."""
        return cls(width, height, *pinhole(matrix))

    @classmethod
    def from_text(cls, text: str, width: int, height: int) -> Camera:
        """A pinhole camera from the text `fx,fy,cx,cy`, for an image of known size."""
        try:
            fx, fy, cx, cy = (float(value) for value in text.split(","))
        except ValueError:
            raise InputError(f"camera '{text}': expected four numbers fx,fy,cx,cy in pixels") from None
        return cls.of(Calibration(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])), (width, height))

    @classmethod
    def from_file(
        cls, path: Path | str, image: tuple[int, int] | None = None, *, rectified: bool = False
    ) -> Camera:
        """From a calibration file, see `geometry.calibration_file`.

        Args:
            path: camera_info YAML as camera_calibration writes it, or a file of another tool.
            image: width and height, for files without a size.
            rectified: the images are already rectified: use P without distortion.
        """
        with located(path):
            return cls.of(read_calibration(path), image, rectified=rectified)

    def check_size(self, shape: tuple[int, ...], what: str) -> None:
        """InputError that begins with `what` if `shape` (H, W, ...) is not this camera's image size."""
        height, width = shape[:2]
        if (width, height) != (self.width, self.height):
            raise InputError(
                f"{what}: {width}x{height} pixels, but the calibration is for {self.width}x{self.height}; "
                "give an image and a calibration of the same size"
            )

    def scaled_to(self, width: int, height: int) -> Camera:
        """The camera of the same image resampled to another size (pixel centres at integers)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def undistorted(self) -> Camera:
        """The pinhole camera of the rectified image, with the same matrix."""
        return replace(self, distortion_model="none", distortion=())

    def rectify(self, image: NDArray[Any]) -> NDArray[Any]:
        """Remove lens distortion from an image; the result belongs to `undistorted()`."""
        if not self.is_distorted:
            return image
        coefficients = np.asarray(self.distortion, float)
        if self.distortion_model == "equidistant":
            return np.asarray(cv2.fisheye.undistortImage(image, self.matrix, coefficients, Knew=self.matrix))
        return np.asarray(cv2.undistort(image, self.matrix, coefficients))

    def project(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points (N, 3) in the camera frame to pixels (N, 2) and depths (N,), which may be <= 0."""
        p = np.asarray(points, float)
        z = p[:, 2]
        safe = np.where(np.abs(z) < 1e-9, 1e-9, z)
        return np.stack([self.fx * p[:, 0] / safe + self.cx, self.fy * p[:, 1] / safe + self.cy], axis=1), z

    def unproject(self, pixels: ArrayLike, depth: ArrayLike) -> NDArray[np.float64]:
        """Points (N, 3) in the camera frame from pixels (N, 2) and depths (N,): the inverse of `project`."""
        u, v = np.asarray(pixels, float).T
        z = np.asarray(depth, float)
        return np.stack([(u - self.cx) / self.fx * z, (v - self.cy) / self.fy * z, z], axis=1)

    def contains(self, pixels: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which projections (N, 2) with depths (N,) are in the image and in front of the camera."""
        u, v = pixels[:, 0], pixels[:, 1]
        inside = (u > -0.5) & (u < self.width - 0.5) & (v > -0.5) & (v < self.height - 0.5)
        return np.asarray(inside & (depth > 0))
