"""Aligns poses to the colours of a map."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from diff2i2p_core.localization.alignment import MAX_DEPTH, Alignment, PhotometricTarget
from diff2i2p_core.localization.query import Query
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.typing import Array

Align = Callable[[Array], Alignment | None]
"""Aligns a pose (map_from_camera) until the map's colours match the image's. None if they do not."""


class Aligner:
    """The coloured cloud of a map, prepared for drawing into images."""

    def __init__(self, point_map: PointMap) -> None:
        """The cloud must have colours."""
        self._cloud = BlockCloud.of(point_map.cloud)
        self._spacing = point_map.spacing

    def to(self, query: Query) -> Align:
        """A function that aligns poses to the query's image, each once."""

        @lru_cache
        def aligned(start: bytes) -> Alignment | None:
            target = query.computed("colors", lambda: PhotometricTarget(query.image, query.camera))
            pose = np.frombuffer(start).reshape(4, 4)
            return target.align(pose, self._cloud.around(pose[:3, 3], MAX_DEPTH), self._spacing)

        return lambda start: aligned(np.ascontiguousarray(start, np.float64).tobytes())
