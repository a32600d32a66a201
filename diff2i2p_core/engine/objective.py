"""The objective of a training step: the network and its losses as one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diff2i2p_core.losses.registration import RegistrationLoss
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.losses.total import needs_matches, pair_loss
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences
from diff2i2p_core.ops.backend import bfloat16_autocast
from diff2i2p_core.pairs.pair import Batch


class Objective(nn.Module):
    """Network and losses, with a single forward, as required by data-parallel training."""

    def __init__(self, model: Diff2I2P, settings: LossSettings, *, seed: int, bf16: bool = False) -> None:
        """`bf16`: the network, but not the losses, runs in bfloat16 under autocast. InputError if a model
        that the losses need is missing."""
        super().__init__()
        self.model = model
        self.settings = settings
        self.seed = seed
        self.bf16 = bf16
        self.registration = RegistrationLoss(settings, seed)

    def forward(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Mean losses over the batch by name; `loss` is their weighted sum. Epochs count from 1."""
        model, kind = self.model, batch.images.device.type
        with bfloat16_autocast(kind, self.bf16):
            images = model.encode_image(batch.images, batch.image_points)
        # On the CPU, bf16 kernels are compiled for each shape, and every cloud has a different one.
        autocast = bfloat16_autocast(kind, self.bf16 and kind != "cpu")
        with autocast:
            submaps = model.encode_cloud(batch.pyramid, batch.features)
        registering = self.registration.used(epoch)
        matching = registering or needs_matches(model, self.settings)
        sums: dict[str, Tensor] = {}
        all_matches: list[Correspondences] = []
        for pair, image, submap in zip(batch.pairs, images, submaps, strict=True):
            with autocast:
                nodes = model.fuse(image, submap)
            matches = model.match(image, submap, nodes) if matching else None
            if matches is not None:
                all_matches.append(matches)
            losses = pair_loss(model, pair, image, submap, nodes, matches, self.settings, self.seed)
            for name, value in losses.items():
                part = value / len(batch.pairs)
                sums[name] = sums[name] + part if name in sums else part
        if registering:
            with torch.autocast(kind, enabled=False):
                terms = self.registration(batch.pairs, submaps, all_matches, epoch)
            sums |= {**terms, "loss": sums["loss"] + terms["loss"]}
        return sums
