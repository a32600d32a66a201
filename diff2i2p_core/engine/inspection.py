"""A closer look at single pairs in TensorBoard: metrics, matches, and the depth that the pose shows."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.data.pair import Pair, collate
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.engine.records import Records
from diff2i2p_core.engine.validation import measure
from diff2i2p_core.evaluation.pair_pictures import WIDTH, pair_panel
from diff2i2p_core.evaluation.protocol import Protocol
from diff2i2p_core.evaluation.registration import PairMetrics, Registration
from diff2i2p_core.localization.overlay import BACKGROUND, Image, depth_colors, titled_row
from diff2i2p_core.losses.distillation import RenderedPair

LARGE_DIFFERENCE = 0.5
"""Metres that are drawn as the farthest colour."""


def inspect_training_pair(
    objective: Objective, pair: Pair, protocol: Protocol, records: Records, step: int
) -> None:
    """Metrics and pictures of a pair as the network registers it in evaluation mode."""
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
        records.picture("training_pair/depth", depth_picture(rendered, caption(metrics)), step)


def matches_picture(registration: Registration, metrics: PairMetrics, protocol: Protocol) -> Image:
    """Matches | cloud at the true pose | cloud at the estimated pose."""
    return pair_panel(registration, metrics, protocol, caption(metrics))


def depth_picture(rendered: RenderedPair, words: str) -> Image:
    """Depth seen from the true pose | from the estimated pose | their difference."""
    truth, estimate = (_array(depth.depth) for depth in (rendered.truth, rendered.estimated))
    seen = truth[truth > 0]
    near, far = (float(v) for v in np.percentile(seen, [2, 98])) if len(seen) else (0.0, 1.0)
    both = (truth > 0) & (estimate > 0)
    difference = np.where(both, np.abs(truth - estimate), 0)
    parts = [
        (f"depth from the true pose, {near:.1f} to {far:.1f} m", _colored(truth, truth > 0, near, far)),
        ("depth from the estimated pose", _colored(estimate, estimate > 0, near, far)),
        (f"difference, blue from {LARGE_DIFFERENCE} m on", _colored(difference, both, 0, LARGE_DIFFERENCE)),
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
    """(1, h, w) to (H, W) of the pictures' width."""
    small = depth[0].float().cpu().numpy()
    size = (WIDTH, round(WIDTH * small.shape[0] / small.shape[1]))
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_NEAREST))


def _colored(values: np.ndarray, known: np.ndarray, near: float, far: float) -> Image:
    canvas = np.empty((*values.shape, 3), np.uint8)
    canvas[:] = BACKGROUND
    canvas[known] = depth_colors(values[known], near, far)
    return canvas
