"""One image to localize, with everything that is computed from it once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import rectify_depth
from diff2i2p_core.geometry.images import check_images
from diff2i2p_core.geometry.se3 import is_rigid
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.typing import Array, Image

T = TypeVar("T")


class Clock:
    """Adds up the milliseconds of each stage in the thread that made it; what others do meanwhile is part of
    these."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self.ms: dict[str, float] = {}
        self._last = time.perf_counter()
        self._thread = get_ident()

    def spent(self, stage: str) -> None:
        """Add the time since the last call to `stage`."""
        if get_ident() != self._thread:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.ms[stage] = self.ms.get(stage, 0.0) + 1000 * (now - self._last)
        self._last = now


@dataclass(frozen=True)
class Query:
    """A rectified image of a pinhole camera, with the settings that are used for it."""

    image: Image
    camera: Camera
    settings: LocalizerSettings
    depth: NDArray[np.float32] | None = None
    """(H, W) metres registered to the rectified image."""
    prior: Array | None = None
    """Approximate map_from_camera."""
    suggested: list[Array] = field(default_factory=list)
    """Poses (map_from_camera) that a proposer found but that others have to decide on, most likely first."""
    clock: Clock = field(default_factory=Clock)
    _computed: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        image: Image,
        camera: Camera,
        settings: LocalizerSettings,
        *,
        depth: NDArray[np.float32] | None = None,
        prior: Array | None = None,
        device: torch.device | str = "cpu",
    ) -> Query:
        """From an image (H, W, 3) RGB and its registered depth (H, W), neither of them rectified.

        InputError if they do not match.
        """
        check_images(image, camera, depth)
        if prior is not None and not is_rigid(prior):
            raise InputError("prior: not a finite rigid transform; give x,y,z,qx,qy,qz,qw")
        clock = Clock(device)
        return cls(
            camera.rectify(image),
            camera.undistorted(),
            settings,
            None if depth is None else rectify_depth(depth, camera),
            prior,
            clock=clock,
        )

    def computed(self, name: str, compute: Callable[[], T]) -> T:
        """The result of `compute` for this query, computed once and cached under `name`."""
        if name not in self._computed:
            self._computed[name] = compute()
        value: T = self._computed[name]
        return value
