"""The settings of a preparation."""

from __future__ import annotations

from pydantic import Field

from diff2i2p_core.settings import Section


class PreparationSettings(Section):
    """How recordings become pairs."""

    window: int = Field(default=25, ge=2)
    """Consecutive frames that are fused to one cloud, and of which one is an image."""
    voxel: float = Field(default=0.025, gt=0)
    """Metres between the points of a cloud."""
    max_depth: float = Field(default=6.0, gt=0)
    """Metres beyond which depth is not fused."""
    min_overlap: float = Field(default=0.5, gt=0, le=1)
    """Least part of an image's pixels with depth that have a point of the cloud within 1.5 voxels."""
    gap: int = Field(default=25, ge=0)
    """Frames that are left out between subsets of one recording."""
    val: float | tuple[str, ...] = 0.15
    test: float | tuple[str, ...] = 0.15
    """Last part in time of each recording, or names of scenes; a split by the data's authors goes first."""
