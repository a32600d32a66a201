"""A Stable Diffusion in miniature, randomly initialised (64 x 64 images)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

COMMON = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
}


def tiny_parts() -> dict[str, Any]:
    """unet, controlnet, vae, scheduler and text_encoder, the same each time."""
    from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=8, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **COMMON)
    controlnet: Any = ControlNetModel(conditioning_embedding_out_channels=(4, 8, 8, 8), **COMMON)
    with torch.no_grad():  # its outputs start at zero by design, which would hide every gradient
        for parameter in controlnet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    )
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=600, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    return {"unet": unet, "controlnet": controlnet, "vae": vae, "scheduler": scheduler, "text_encoder": text}


def write_tiny_prior(folder: Path) -> Path:
    """The same as diffusers folders `base` and `controlnet`, with a tokenizer of single letters."""
    from transformers import CLIPTokenizer

    parts = tiny_parts()
    for name in ("unet", "vae", "scheduler", "text_encoder"):
        parts[name].save_pretrained(folder / "base" / name)
    parts["controlnet"].save_pretrained(folder / "controlnet")
    letters = [chr(c) for c in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: i for i, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)
    tokenizer.save_pretrained(folder / "base" / "tokenizer")
    return folder
