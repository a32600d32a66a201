"""A localizer whose answers are known."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import first_found
import numpy as np
from plain_map import PlainMap

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.localization.result import Localization

WIDTH, HEIGHT = 64, 48
"""Of its images."""


def truth(number: int) -> np.ndarray:
    """map_from_camera that the scripted localizer finds in image `number`."""
    return exp([0.3, -0.02 * number, 0.5, 0.1 * number, 2.0, 1.5])


class ScriptedLocalizer:
    """Stands in for the network where only the node's mechanics are tested: reads the image's number off its
    middle and answers `truth(number)`; number 0 is "not localized". Records its calls."""

    delay = 0.0
    gate: threading.Event | None = None
    """Work on an image ends when it is set."""

    needs_depth = False

    def __init__(self, cloud: PointCloud, settings: Any) -> None:
        self.map = PlainMap(cloud, np.stack([truth(number) for number in range(256)]))
        self.settings = settings
        self.calls: list[SimpleNamespace] = []

    @classmethod
    def open(
        cls,
        map_path: Any,
        weights: str | None = None,
        *,
        matcher: str = "auto",
        device: str = "cpu",
        settings: Any = None,
    ) -> ScriptedLocalizer:
        if not map_path.exists():
            raise InputError(f"{map_path}: no such map; build one with `diff2i2p map build`")
        return cls(PointCloud(np.ones((7, 3), np.float32)), settings)

    @classmethod
    def from_cloud(
        cls,
        cloud: PointCloud,
        weights: str | None = None,
        *,
        matcher: str = "auto",
        device: str = "cpu",
        up: str = "z",
        settings: Any = None,
        note: Any = None,
    ) -> ScriptedLocalizer:
        return cls(cloud, settings)

    def localize(
        self,
        image: np.ndarray,
        camera: Camera,
        *,
        prior: np.ndarray | None = None,
        depth: np.ndarray | None = None,
    ) -> Localization:
        camera.check_size(image.shape, "image")
        number = int(image[HEIGHT // 2, WIDTH // 2, 0])
        self.calls.append(
            SimpleNamespace(number=number, image=image, camera=camera, prior=prior, depth=depth)
        )
        time.sleep(self.delay)
        assert self.gate is None or self.gate.wait(10)
        found = number > 0
        return Localization(
            localized=found,
            reason="" if found else "too few inliers",
            map_from_camera=truth(number) if found else None,
            covariance=np.diag([1.0, 2.0, 3.0, 0.1, 0.2, 0.3]) if found else None,
            num_correspondences=100,
            num_inliers=80 if found else 3,
            inlier_ratio=0.8 if found else 0.03,
            reprojection_error_px=1.5,
            submap=0,
            latency_ms={
                "image": 1.0,
                "retrieve": 5.0,
                "match": 2.0,
                "render": 6.0,
                "pose": 3.0,
                "align": 4.0,
            },
            inlier_pixels=np.full((2, 2), 20.0),
            inlier_points=np.ones((2, 3)),
        )

    localize_rig = first_found.localize_rig

    def warm_up(self, *, depth: bool = False) -> None:
        pass
