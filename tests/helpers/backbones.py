"""Small networks with other image branches, and their inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from diff2i2p_core.models.config import Mode, ModelConfig
from diff2i2p_core.models.inputs import image_tensor
from diff2i2p_core.pairs.pair import Batch


def changed(config: ModelConfig, image: dict[str, Any], mode: Mode = "mono") -> ModelConfig:
    return config.model_copy(update={"mode": mode, "image": config.image.model_copy(update=image)})


def batch_for(config: ModelConfig, batch: Batch) -> Batch:
    """The pairs with their images as the branch takes them."""
    images = [image_tensor(p.rgb.permute(1, 2, 0).numpy(), p.camera, config) for p in batch.pairs]
    return replace(batch, images=torch.cat(images))
