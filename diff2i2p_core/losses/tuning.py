"""Losses of Deformable Correspondence Tuning: small offsets that bring matched points to the truth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences, ImageFeatures


class TuningLoss(NamedTuple):
    """Both in units of the offsets, `Diff2I2P.offset_scale`."""

    offset: Tensor
    """Mean length of the offsets."""
    residual: Tensor
    """Mean distance of the moved points to their pixels' true points."""


def tuning_loss(
    model: Diff2I2P, image: ImageFeatures, matches: Correspondences, truth: Tensor, counted: Tensor
) -> TuningLoss:
    """Losses (METHOD 2.10) of a model that tunes; zero with defined gradients where nothing is matched.

    Args:
        truth: (C, 3) the matched pixels' points in the submap frame.
        counted: (C,) matches whose truth is known and takes part in the residual.
    """
    assert model.tuning is not None and matches.offsets is not None
    # Every parameter takes part whatever was matched: data-parallel training waits for each gradient.
    zero = torch.stack([p.sum() for p in model.tuning.parameters()]).sum() * 0
    offset = residual = zero
    if len(matches):
        offset = zero + matches.offsets.norm(dim=1).mean()
    if bool(counted.any()):
        error = (truth[counted] - matches.points[counted]) / model.offset_scale(image)
        residual = zero + error.norm(dim=1).mean()
    return TuningLoss(offset, residual)
