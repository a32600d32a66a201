"""The matching losses by name, for `losses.coarse.kind` and `losses.fine.kind`.

A new one needs a function in its own file and a line in a table here.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from diff2i2p_core.losses.coarse import coarse_circle_loss, coarse_contrastive_loss
from diff2i2p_core.losses.fine import DrawnPairs, drawn_circle_loss, drawn_contrastive_loss, drawn_pairs
from diff2i2p_core.losses.settings import CoarseSettings, FineSettings, LossSettings
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.features import ImageFeatures, SubmapFeatures
from diff2i2p_core.pairs.pair import Pair
from diff2i2p_core.pairs.targets import NodeOverlaps
from diff2i2p_core.settings import look_up

CoarseLoss = Callable[[Tensor, Tensor, Tensor, NodeOverlaps, CoarseSettings], Tensor]
"""Takes L2-normalised image nodes (M, D) and superpoints (S, D), and the entries `used` (M, S)."""
FineLoss = Callable[[DrawnPairs, FineSettings], Tensor]

COARSE_LOSSES: dict[str, CoarseLoss] = {
    "circle": coarse_circle_loss,
    "contrastive": coarse_contrastive_loss,
}
FINE_LOSSES: dict[str, FineLoss] = {
    "circle": drawn_circle_loss,
    "contrastive": drawn_contrastive_loss,
}


def coarse_loss(
    image_nodes: Tensor, point_nodes: Tensor, used: Tensor, overlaps: NodeOverlaps, settings: CoarseSettings
) -> Tensor:
    """The configured loss of L2-normalised nodes (M, D), (S, D) on the entries `used` (M, S)."""
    return _coarse(settings)(image_nodes, point_nodes, used, overlaps, settings)


def fine_loss(
    image: ImageFeatures,
    submap: SubmapFeatures,
    positions: Tensor,
    pair: Pair,
    drawn: tuple[Tensor, Tensor],
    config: ModelConfig,
    settings: FineSettings,
) -> Tensor:
    """The configured loss at the true correspondences `drawn`, zero without any.

    Args:
        positions: (N, 3) of the submap's points, that distances are measured from.
        drawn: rows (C,) of fine pixels and of points, on the CPU like the ground truth.
    """
    if not len(drawn[0]):
        return (image.fine.sum() + submap.fine.sum()) * 0
    return _fine(settings)(drawn_pairs(image, submap, positions, pair, drawn, config), settings)


def check_kinds(settings: LossSettings) -> None:
    """InputError for a name that is in no table."""
    _coarse(settings.coarse)
    _fine(settings.fine)


def _coarse(settings: CoarseSettings) -> CoarseLoss:
    return look_up(COARSE_LOSSES, settings.kind, "losses.coarse.kind")


def _fine(settings: FineSettings) -> FineLoss:
    return look_up(FINE_LOSSES, settings.kind, "losses.fine.kind")
