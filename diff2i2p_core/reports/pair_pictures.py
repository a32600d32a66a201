"""Pictures of one registration: its matches, and the cloud at the true and the estimated pose."""

from __future__ import annotations

import cv2
import numpy as np

from diff2i2p_core.evaluation.protocol import Protocol
from diff2i2p_core.evaluation.registration import PairMetrics, Registration
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.reports.overlay import BACKGROUND, PANEL_WIDTH, overlay, shrunk, titled_row
from diff2i2p_core.typing import Image

RIGHT, WRONG, UNKNOWN = (60, 220, 110), (240, 70, 60), (170, 170, 175)
LINES = 150
"""Number of matches, best by score, with the error drawn as a line."""


def pair_panel(registration: Registration, metrics: PairMetrics, protocol: Protocol, caption: str) -> Image:
    """Matches | cloud at the true pose | cloud at the estimated pose."""
    return titled_row(pair_parts(registration, metrics, protocol), caption)


def pair_parts(
    registration: Registration, metrics: PairMetrics, protocol: Protocol
) -> list[tuple[str, Image]]:
    """The same as pictures with titles."""
    camera = registration.camera
    image = registration.image
    if image is None:
        image = np.full((camera.height, camera.width, 3), 70, np.uint8)
    picture, small, scale = shrunk(image, camera, PANEL_WIDTH)
    cloud, voxel = registration.plain_cloud, registration.voxel
    truth = overlay(picture, small, invert(registration.camera_from_cloud), cloud, voxel)
    if metrics.camera_from_cloud is None:
        estimate: Image = np.full_like(picture, np.array(BACKGROUND, np.uint8))
        words = "no pose"
    else:
        estimate = overlay(picture, small, invert(metrics.camera_from_cloud), cloud, voxel)
        words = "cloud at the estimated pose"
    return [
        ("matches: green right, red wrong, grey unknown", _matches(picture, registration, protocol, scale)),
        ("cloud at the true pose, coloured by depth", truth),
        (words, estimate),
    ]


def _matches(picture: Image, r: Registration, protocol: Protocol, scale: float) -> Image:
    """Matched pixels as dots. Lines lead to the true positions of the matched points in the image."""
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    canvas: Image = np.asarray(cv2.addWeighted(picture, 0.45, grey, 0.35, 0), np.uint8)
    best = np.argsort(-r.scores, kind="stable")[: protocol.num_corr]
    right = r.distances() < protocol.acceptance_radius
    known = r.pixel_points[:, 2] > 0
    true_pixels, depth = r.camera.project(transform_points(r.camera_from_cloud, r.points))
    inside = r.camera.contains(true_pixels, depth)
    start = np.rint((r.pixels + 0.5) * scale - 0.5).astype(int)
    end = np.rint((np.where(inside[:, None], true_pixels, 0) + 0.5) * scale - 0.5).astype(int)

    def color(match: int) -> tuple[int, int, int]:
        return UNKNOWN if not known[match] else RIGHT if right[match] else WRONG

    for match in best[:LINES]:
        if inside[match]:
            cv2.line(canvas, start[match].tolist(), end[match].tolist(), color(match), 1, cv2.LINE_AA)
    # Draw right ones last, so that wrong ones do not hide them.
    for match in best[np.argsort(right[best], kind="stable")]:
        cv2.circle(canvas, start[match].tolist(), 2, color(match), -1, cv2.LINE_AA)
    return canvas
