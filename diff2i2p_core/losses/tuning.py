"""Losses of Deformable Correspondence Tuning: small offsets that bring matched points to the truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences, ImageFeatures


class TuningLoss(NamedTuple):
    """Both relative to the scale of the offsets."""

    offset: Tensor
    """Mean length of the offsets."""
    residual: Tensor
    """Mean distance of the moved points to the true points of their pixels."""


def tuning_loss(
    model: Diff2I2P,
    image: ImageFeatures,
    matches: Correspondences,
    true_points: NDArray[np.floating],
    counted: NDArray[np.bool_],
) -> TuningLoss:
    """DCT's losses (METHOD 2.10) of a model that has it; zero with defined gradients without matches.

    Args:
        true_points: (P, 3) the fine pixels' points in the submap frame.
        counted: (P,) pixels that have a part in the residual.
    """
    assert model.tuning is not None and matches.offsets is not None
    # Every parameter takes part whatever was matched: data-parallel training waits for each gradient.
    zero = torch.stack([p.sum() for p in model.tuning.parameters()]).sum() * 0
    if not len(matches):
        return TuningLoss(zero, zero)
    rows = matches.pixel_indices.cpu().numpy()
    used = torch.from_numpy(counted[rows]).to(zero.device)
    truth = torch.from_numpy(true_points[rows]).to(matches.points)
    residuals = ((truth - matches.points) / model.offset_scale(image)).norm(dim=1)
    residual = residuals[used].mean() if bool(used.any()) else zero
    return TuningLoss(zero + matches.offsets.norm(dim=1).mean(), zero + residual)
