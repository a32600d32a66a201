"""An image that was localized, in a browser: its camera at its pose, its matches and its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.recorded import Matches, localize_with_matches
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.reports.map_points import up_direction
from diff2i2p_core.reports.map_scene import (
    CAMERA_COLOR,
    CAMERA_DEPTH,
    on_image,
    show_camera,
    show_covariance,
    show_lines,
    some,
    swatch,
)
from diff2i2p_core.typing import Array, Image

if TYPE_CHECKING:
    from viser import ViserServer

RIGHT, WRONG = (70, 205, 110), (240, 80, 70)
MOST_MATCHES = 150
"""Of each colour. Of more, some at equal distances are drawn, so that the lines can be told apart."""


@dataclass(frozen=True)
class LocalizedImage:
    name: str
    image: Image
    """(H, W, 3) without distortion."""
    camera: Camera
    """Without distortion."""
    answer: Localization
    matches: Matches
    settings: LocalizerSettings

    @classmethod
    def of(cls, localizer: Localizer, image: Image, camera: Camera, name: str) -> LocalizedImage:
        """Localizes `image` (H, W, 3)."""
        answer, matches = localize_with_matches(localizer, image, camera)
        pinhole = camera.undistorted()
        return cls(name, camera.rectify(image), pinhole, answer, matches, localizer.settings)


def show_localized(server: ViserServer, seen: LocalizedImage, views: Array) -> None:
    """/camera, /matches and /covariance, and what they are in the panel; or why there is no pose.

    `views` (V, 4, 4) of the map say where up is.
    """
    pose, covariance = seen.answer.map_from_camera, seen.answer.covariance
    if pose is None or covariance is None:
        server.gui.add_markdown(f"**{seen.name}**: not localized: {seen.answer.reason}")
        return
    show_camera(server, "/camera", pose, seen.camera, seen.image)
    right = seen.matches.right(pose, seen.camera, seen.settings)
    starts = transform_points(pose, on_image(seen.camera, seen.matches.pixels, CAMERA_DEPTH))
    lines = np.stack([starts, seen.matches.points], axis=1)
    for name, rows, color in (("right", right, RIGHT), ("wrong", ~right, WRONG)):
        if rows.any():
            index = np.flatnonzero(rows)[some(int(rows.sum()), MOST_MATCHES)]
            show_lines(server, f"/matches/{name}", lines[index], color)
    ellipsoid = show_covariance(server, pose, covariance)
    x, y, z = pose[:3, 3]
    server.gui.add_markdown(
        f"**{seen.name}** was localized at ({x:.2f}, {y:.2f}, {z:.2f}) m, with {seen.answer.num_inliers} "
        f"inliers.\n\n{swatch(RIGHT)} {_count(int(right.sum()))} matches that agree with the pose, from the "
        f"image to the map\n\n{swatch(WRONG)} {_count(int((~right).sum()))} that do not\n\n"
        f"{swatch(CAMERA_COLOR)} camera; ellipsoid: {ellipsoid}"
    )
    _look_over(server, pose, up_direction(views))


def _count(matches: int) -> str:
    return str(matches) if matches <= MOST_MATCHES else f"{MOST_MATCHES} of {matches}"


def _look_over(server: ViserServer, map_from_camera: Array, up: Array) -> None:
    """Start the browser's view behind and above the camera."""
    position, ahead = map_from_camera[:3, 3], map_from_camera[:3, 2]
    level = ahead - up * (up @ ahead)
    level /= max(float(np.linalg.norm(level)), 1e-6)
    server.initial_camera.position = position - 1.8 * level + 1.9 * up + 0.8 * np.cross(level, up)
    server.initial_camera.look_at = position + 1.2 * level - 0.2 * up
