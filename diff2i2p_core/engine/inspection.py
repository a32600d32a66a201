"""Single pairs in TensorBoard: metrics, matches, and the depth rendered from the pose."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.engine.records import Records
from diff2i2p_core.engine.validation import measure
from diff2i2p_core.evaluation.protocol import Protocol
from diff2i2p_core.evaluation.registration import PairMetrics, Registration
from diff2i2p_core.losses.distillation import RenderedPair
from diff2i2p_core.pairs.pair import Pair, collate
from diff2i2p_core.reports.overlay import PANEL_WIDTH, depth_picture, depth_span, titled_row
from diff2i2p_core.reports.pair_pictures import pair_panel
from diff2i2p_core.typing import Image

LARGE_DIFFERENCE = 0.5
"""Metres. Differences from this on have the last colour."""


def inspect_training_pair(
    objective: Objective, pair: Pair, protocol: Protocol, records: Records, step: int
) -> None:
    """Metrics and pictures of a pair, registered by the network in evaluation mode."""
    for registration, metrics in measure(objective.model, [pair], protocol):
        values = {
            "pir": metrics.patch_inlier_ratio,
            "ir": metrics.inlier_ratio,
            "position_m": metrics.position_m,
            "rotation_deg": metrics.rotation_deg,
        }
        records.scalars("training_pair", values, step)
        records.picture("training_pair/matches", matches_picture(registration, metrics, protocol), step)
        rendered = _rendered(objective, pair)
        records.picture("training_pair/depth", compared_depths(rendered, caption(metrics)), step)


def matches_picture(registration: Registration, metrics: PairMetrics, protocol: Protocol) -> Image:
    """Matches | cloud at the true pose | cloud at the estimated pose."""
    return pair_panel(registration, metrics, protocol, caption(metrics))


def compared_depths(rendered: RenderedPair, words: str) -> Image:
    """Depth seen from the true pose | from the estimated pose | their difference."""
    truth, estimate = (_array(depth.depth) for depth in (rendered.truth, rendered.estimated))
    near, far = depth_span(truth[truth > 0])
    both = (truth > 0) & (estimate > 0)
    error = depth_picture(np.abs(truth - estimate), both, 0, LARGE_DIFFERENCE)
    parts = [
        (f"depth from the true pose, {near:.1f} to {far:.1f} m", depth_picture(truth, truth > 0, near, far)),
        ("depth from the estimated pose", depth_picture(estimate, estimate > 0, near, far)),
        (f"difference, blue from {LARGE_DIFFERENCE} m on", error),
    ]
    return titled_row(parts, words)


def caption(metrics: PairMetrics) -> str:
    pose = "no pose"
    if metrics.camera_from_cloud is not None:
        pose = f"{100 * metrics.position_m:.1f} cm, {metrics.rotation_deg:.1f} deg off"
    return f"{metrics.name}: {metrics.correspondences} matches, {metrics.inlier_ratio:.0%} right; {pose}"


@torch.no_grad()
def _rendered(objective: Objective, pair: Pair) -> RenderedPair:
    model = objective.model
    batch = collate([pair]).to(model.device)
    image = model.encode_image(batch.images, batch.image_points)[0]
    submap = model.encode_cloud(batch.pyramid, batch.features)[0]
    return objective.registration.rendered_depths(pair, submap, model.match(image, submap))


def _array(depth: Tensor) -> np.ndarray:
    """(1, h, w) to (H, W), resized to the width of the pictures."""
    small = depth[0].float().cpu().numpy()
    size = (PANEL_WIDTH, round(PANEL_WIDTH * small.shape[0] / small.shape[1]))
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_NEAREST))
