"""The training objective's settings. Defaults are the corrected method; `released` rules can be turned on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diff2i2p_core.models.config import Section


class CoarseSettings(Section):
    """Node features against the overlaps of nodes (2D3D-MATR)."""

    weight: float = Field(default=1.0, ge=0)
    kind: Literal["circle", "contrastive"] = "circle"
    multi_scale: float = Field(default=0.5, ge=0)
    """Weight, within the coarse loss, of the same loss on the nodes before fusion."""
    temperature: float = Field(default=0.1, gt=0)
    """Of the contrastive loss."""
    negatives: Literal["larger", "smaller"] = "larger"
    """Negative is a pair whose larger overlap is small; `smaller` is the released rule (METHOD D5)."""


class FineSettings(Section):
    """Pixel and point features at true correspondences."""

    weight: float = Field(default=1.0, ge=0)
    kind: Literal["circle", "contrastive"] = "circle"
    samples: int = Field(default=256, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    """Of the contrastive loss."""


class LossSettings(Section):
    """Every term with its weight; a weight of 0 leaves its work out."""

    coarse: CoarseSettings = CoarseSettings()
    fine: FineSettings = FineSettings()
