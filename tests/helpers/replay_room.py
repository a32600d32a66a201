"""A bag of numbered images and a localizer that knows where each was taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import first_found
import numpy as np
from bag_writer import PERIOD, START, Sent, patrol

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, exp
from diff2i2p_core.io.rgbd_folder import Frame
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings, TrackerSettings
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.typing import Array

CAMERA = Camera(64, 48, 60, 60, 31.5, 23.5)
STEP = 2 * PERIOD
"""Nanoseconds between two images."""
ALONG_Y = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def true_pose(number: int) -> Array:
    """map_from_camera of image `number`: a walk of 10 cm an image that turns a little."""
    return compose(ALONG_Y, [0.1 * number, 0, 1.2]) @ exp([0, 0.02 * number, 0, 0, 0, 0])


def frames(count: int) -> list[Frame]:
    depth = np.full((48, 64), 2, np.float32)
    return [Frame(n, np.full((48, 64, 3), n, np.uint8), depth, true_pose(n)) for n in range(count)]


def messages(count: int = 12, **options: Any) -> list[Sent]:
    return patrol(frames(count), CAMERA, period=STEP, **options)


def stamp(number: int) -> int:
    return START + number * STEP


MAP_INFO = SimpleNamespace(
    origin=None,
    mode="mono",
    weights_name="none",
    weights_id="0" * 64,
    source="numbers",
    settings=SimpleNamespace(spacing=0.05),
)


class KnowingLocalizer:
    """Stands in for `Localizer`: answers `true_pose` of the number that the image shows, 2 cm too high.

    Images that are `lost` are not localized, `wrong` ones are 2 m off.
    """

    settings = LocalizerSettings()
    proposers = ()

    def __init__(
        self,
        lost: tuple[int, ...] = (),
        wrong: tuple[int, ...] = (),
        needs_depth: bool = False,
    ) -> None:
        self.lost, self.wrong, self.needs_depth = lost, wrong, needs_depth
        rng = np.random.default_rng(0)
        self.map = SimpleNamespace(
            info=MAP_INFO,
            submaps=[None],
            cloud=PointCloud(rng.uniform((-1, 2, 0), (3, 4, 2.5), (500, 3)).astype(np.float32)),
            viewpoints=np.stack([true_pose(number) for number in range(0, 12, 4)]),
            sizes="1 submaps",
            spacing=0.05,
            rendered=None,
            doubts=(),
        )
        self.asked: list[SimpleNamespace] = []

    localize_rig = first_found.localize_rig

    def warm_up(self, *, depth: bool = False) -> None:
        pass

    def localize(
        self, image: np.ndarray, camera: Camera, *, prior: Any = None, depth: Any = None
    ) -> Localization:
        number = int(image[24, 32, 0])
        self.asked.append(SimpleNamespace(number=number, camera=camera, prior=prior, depth=depth))
        found = number not in self.lost
        pose = true_pose(number)
        pose[2, 3] += 2.0 if number in self.wrong else 0.02
        return Localization(
            localized=found,
            reason="" if found else f"too few inliers ({number}, need 60)",
            map_from_camera=pose if found else None,
            covariance=np.eye(6) * 0.02**2 if found else None,
            num_correspondences=100,
            num_inliers=80,
            inlier_ratio=0.8,
            reprojection_error_px=1.5,
            submap=0,
            latency_ms={"image": 1.0},
            inlier_pixels=np.zeros((0, 2)),
            inlier_points=np.zeros((0, 3)),
        )


def each_alone(localizer: KnowingLocalizer) -> Tracker:
    """Searches every image in the whole map."""
    return Tracker(localizer, TrackerSettings(use_prior=False))
