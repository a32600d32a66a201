"""Losses on the poses from matches: the pose loss and CSD, with their weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diff2i2p_core.losses.distillation import Distillation, RenderedPair, render_pair
from diff2i2p_core.losses.pose import estimate_poses, pose_terms
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models.features import Correspondences, SubmapFeatures
from diff2i2p_core.pairs.pair import Pair


class RegistrationLoss:
    """The terms that need all matches of a pair. It has no parameters: the diffusion model of CSD is
    constant, loaded at first use, and not part of any checkpoint."""

    def __init__(self, settings: LossSettings, seed: int) -> None:
        """InputError if CSD is on and its models are not on this machine."""
        self.settings = settings
        self.distillation = Distillation(settings.csd, seed) if settings.csd.weight > 0 else None

    def used(self, epoch: int) -> bool:
        return self.settings.pose.used(epoch) or self.settings.csd.used(epoch)

    def __call__(
        self,
        pairs: Sequence[Pair],
        submaps: Sequence[SubmapFeatures],
        matches: Sequence[Correspondences],
        epoch: int,
    ) -> dict[str, Tensor]:
        """Means over the pairs by name, for an epoch in which it is `used`. `loss` is their weighted sum."""
        pose = self.settings.pose
        poses = estimate_poses(pairs, matches, pose)
        terms = pose_terms(poses)
        total = terms["rotation"] * 0
        if pose.used(epoch):
            total = pose.rotation_weight * terms["rotation"] + pose.translation_weight * terms["translation"]
        if self.distillation is not None and self.settings.csd.used(epoch):
            csd = self.distillation(pairs, submaps, matches, poses)
            total = total + self.settings.csd.weight * csd["csd"]
            terms |= csd
        return {"loss": total, **terms}

    @torch.no_grad()
    def rendered_depths(self, pair: Pair, submap: SubmapFeatures, matches: Correspondences) -> RenderedPair:
        """The inputs of CSD, for pictures: the cloud seen from the PnP pose and from the true pose."""
        poses = estimate_poses([pair], [matches], self.settings.pose)
        return render_pair(pair, submap, matches, poses.camera_from_cloud[0], self.settings.csd)
