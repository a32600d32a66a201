"""What trackers, nodes and pictures need of a localizer and its map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.typing import Array


class Searching(Protocol):
    """The part of `Localizer` that localizes images."""

    def localize(
        self,
        image: NDArray[np.uint8],
        camera: Camera,
        *,
        prior: Array | None = None,
        depth: NDArray[np.float32] | None = None,
    ) -> Localization: ...

    def localize_rig(
        self,
        images: Sequence[NDArray[np.uint8]],
        cameras: Sequence[RigCamera],
        *,
        prior: Array | None = None,
        depths: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> RigLocalization: ...

    def warm_up(self, *, depth: bool = False) -> None: ...


class Mapped(Protocol):
    """The part of `PointMap` that trackers and pictures use."""

    @property
    def cloud(self) -> PointCloud: ...

    @property
    def viewpoints(self) -> Array: ...

    @property
    def spacing(self) -> float: ...

    @property
    def origin(self) -> tuple[float, ...] | None: ...


class Localizing(Searching, Protocol):
    """The part of `Localizer` that a tracker and a node need."""

    @property
    def map(self) -> Mapped: ...

    needs_depth: bool
    settings: LocalizerSettings
