"""The small diffusion model of the golden numbers, with their prompt embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.losses.csd_step import NEGATIVE_PROMPT, POSITIVE_PROMPT
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior


class FixedText(DiffusionPrior):
    """Prompt embeddings from a table instead of a text encoder."""

    texts: dict[str, Tensor]

    def text(self, prompt: str) -> Tensor:
        return self.texts[prompt]


def golden_vae(folder: Path) -> Any:
    from diffusers import AutoencoderKL

    return _built(AutoencoderKL, _stored_models(folder), "vae", "vae_cfg")


def golden_prior(folder: Path) -> FixedText:
    """In float32, without checkpointing."""
    from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel

    stored = _stored_models(folder)
    unet = _built(UNet2DConditionModel, stored, "unet", "unet_cfg")
    controlnet = _built(ControlNetModel, stored, "controlnet", "cn_cfg")
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    vae, text_encoder = golden_vae(folder), torch.nn.Identity()
    prior = FixedText(unet, controlnet, vae, scheduler, text_encoder, None, checkpointing=False)
    with np.load(folder / "csd.npz") as file:
        positive, negative = (torch.from_numpy(file[name]) for name in ("pos", "neg"))
    prior.texts = {POSITIVE_PROMPT: positive, NEGATIVE_PROMPT: negative}
    return prior


def _stored_models(folder: Path) -> dict[str, Any]:
    with torch.serialization.safe_globals([torch.torch_version.TorchVersion]):
        return dict(torch.load(folder / "csd_tiny_models.pt", weights_only=True))


def _built(kind: Any, stored: dict[str, Any], weights: str, config: str) -> Any:
    module = kind.from_config({k: v for k, v in stored[config].items() if not k.startswith("_")})
    module.load_state_dict(stored[weights])
    return module
