"""The settings of a preparation."""

from __future__ import annotations

from pydantic import Field

from diff2i2p_core.settings import Section


class PreparationSettings(Section):
    """How recordings become pairs."""

    window: int = Field(default=25, ge=2)
    """Number of consecutive frames that are fused to one cloud; one of them is the image."""
    voxel: float = Field(default=0.025, gt=0)
    """Metres between the points of a cloud."""
    max_depth: float = Field(default=6.0, gt=0)
    """Maximum depth that is fused, in metres."""
    min_overlap: float = Field(default=0.5, gt=0, le=1)
    """Minimum fraction of an image's pixels with depth that have a cloud point within 1.5 voxels."""
    gap: int = Field(default=25, ge=0)
    """Number of frames left out between the subsets of one recording."""
    val: float | tuple[str, ...] = 0.15
    test: float | tuple[str, ...] = 0.15
    """The last fraction of each recording, or names of scenes. A split by the data's authors has priority."""
