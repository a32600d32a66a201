"""A map without features, for localizers whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class PlainMap:
    cloud: PointCloud
    viewpoints: Array
    spacing: float = 0.05
    origin: tuple[float, ...] | None = None
    rendered: None = None
    doubts: tuple[str, ...] = ()
