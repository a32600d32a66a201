"""The networks of a small diffusion prior, in the format of diffusers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diff2i2p_core.engine.prior_config import PriorNetworks
from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.pixel_space import PixelBlocks

_GROUPS = 8
"""Of the normalisations."""
_FIRST_CONTROL_CHANNELS = 16
_OPENING = 0.3
"""Of the ControlNet's residuals at the start, relative to other layers."""


class PriorPair(nn.Module):
    """UNet and ControlNet, trained together: the UNet predicts the noise with the ControlNet's help."""

    def __init__(self, networks: PriorNetworks) -> None:
        super().__init__()
        if importlib.util.find_spec("diffusers") is None:
            raise InputError("a diffusion prior needs diffusers; pip install 'diff2i2p_core[train]'")
        from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel

        self.space = PixelBlocks(networks.block)
        plain = len(networks.channels) - 1
        self.unet: Any = UNet2DConditionModel(
            sample_size=networks.size // networks.block,
            in_channels=self.space.channels,
            out_channels=self.space.channels,
            block_out_channels=networks.channels,
            layers_per_block=networks.layers,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
            mid_block_type="UNetMidBlock2D",
            norm_num_groups=_GROUPS,
            attention_head_dim=8,
            cross_attention_dim=8,  # of the text, which it does not have
        )
        halvings = networks.block.bit_length() - 1
        self.controlnet: Any = ControlNetModel.from_unet(
            self.unet,
            conditioning_embedding_out_channels=tuple(
                _FIRST_CONTROL_CHANNELS * 2**level for level in range(halvings + 1)
            ),
        )
        _open(self.controlnet)
        self.scheduler: Any = DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", clip_sample=False, prediction_type="v_prediction"
        )

    def forward(
        self, images: Tensor, control: Tensor, timestep: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The velocity that is predicted for images (B, 3, S, S) after `timestep` (B,) steps, and the true
        one, both like `noise`.

        `control` (B, 3, S, S). A control image of -1 stands for none: its residuals are left out.
        """
        latents = self.latents(images)
        noisy = self.scheduler.add_noise(latents, noise, timestep)
        text = latents.new_zeros(len(latents), 1, self.unet.config.cross_attention_dim)
        given = (control >= 0).flatten(1).all(1).to(latents)[:, None, None, None]
        inputs = {"encoder_hidden_states": text, "return_dict": False}
        down, middle = self.controlnet(noisy, timestep, controlnet_cond=control, **inputs)
        predicted: Tensor = self.unet(
            noisy,
            timestep,
            down_block_additional_residuals=tuple(given * residual for residual in down),
            mid_block_additional_residual=given * middle,
            **inputs,
        )[0]
        return predicted, self.scheduler.get_velocity(latents, noise, timestep)

    def latents(self, images: Tensor) -> Tensor:
        """Of images (B, 3, S, S) in [0, 1]."""
        latents: Tensor = self.space.encode(2 * images - 1).latent_dist.mean
        return latents

    @torch.no_grad()
    def save(self, folder: Path) -> None:
        """Write the parts with `save_pretrained`, as `losses.csd.model` reads them."""
        for name in ("unet", "controlnet", "scheduler"):
            getattr(self, name).save_pretrained(folder / name)


@torch.no_grad()
def _open(controlnet: Any) -> None:
    """Random weights where a ControlNet starts with zeros. The zeros protect a UNet that is trained already;
    here they would only delay learning, the more as there are two of them one after the other."""
    embedding = controlnet.controlnet_cond_embedding.conv_out
    outputs = (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block)
    for layer in (embedding, *outputs):
        layer.reset_parameters()
    for layer in outputs:
        layer.weight.mul_(_OPENING)
        layer.bias.zero_()
