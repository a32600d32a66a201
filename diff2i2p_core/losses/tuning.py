"""Losses of Deformable Correspondence Tuning: small offsets that bring matched points to the truth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences, ImageFeatures, SubmapFeatures


class TuningLoss(NamedTuple):
    """All in units of the offsets, `Diff2I2P.offset_scale`."""

    offset: Tensor
    """Mean length of the offsets."""
    residual: Tensor
    """Mean distance of the moved points to their pixels' true points."""
    untuned: Tensor
    """The same for the original points, without gradient: the value that tuning must beat."""


def tuning_loss(
    model: Diff2I2P,
    image: ImageFeatures,
    submap: SubmapFeatures,
    matches: Correspondences,
    truth: Tensor,
    counted: Tensor,
) -> TuningLoss:
    """Losses of a model with tuning (docs/method.md R15). Zero, with gradients, if there are no matches.

    Args:
        truth: (C, 3) the matched pixels' points in the submap frame.
        counted: (C,) matches with a known truth, which count in the residual.
    """
    assert model.tuning is not None and matches.offsets is not None
    # Every parameter is always used, because data-parallel training waits for each gradient.
    zero = torch.stack([p.sum() for p in model.tuning.parameters()]).sum() * 0
    if not len(matches):
        return TuningLoss(zero, zero, zero.detach())
    offset = zero + matches.offsets.norm(dim=1).mean()
    if not bool(counted.any()):
        return TuningLoss(offset, zero, zero.detach())
    scale = model.offset_scale(image)

    def residual(points: Tensor) -> Tensor:
        error: Tensor = ((truth - points)[counted] / scale).norm(dim=1).mean()
        return error

    return TuningLoss(
        offset, residual(matches.points), residual(submap.points[matches.point_indices]).detach()
    )
