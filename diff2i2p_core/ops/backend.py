"""Chooses how an op is computed: by its Triton kernel on a GPU or by plain torch, and in which precision."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache

import torch
from torch import Tensor

from diff2i2p_core.errors import InputError

VARIABLE = "DIFF2I2P_OPS"
CHOICES = ("auto", "torch", "triton")
CAPABILITY = (8, 0)
"""The minimum compute capability for Triton and its bfloat16 products."""


def use_triton(tensor: Tensor) -> bool:
    """Whether an op should run its kernel on this input.

    The environment variable DIFF2I2P_OPS is `torch` (the reference everywhere), `triton` (the kernels
    everywhere; on the CPU they need TRITON_INTERPRET=1), or `auto`, the default: kernels on NVIDIA GPUs from
    the A100's generation on.
    """
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in CHOICES:
        raise InputError(f"{VARIABLE}={choice} is unknown; set one of {', '.join(CHOICES)}")
    if choice == "auto":
        return tensor.is_cuda and _runs_triton(tensor.device)
    return choice == "triton"


@lru_cache
def _runs_triton(device: torch.device) -> bool:
    if torch.version.cuda is None or importlib.util.find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= CAPABILITY


def computes_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16. Without them, it takes longer than float32."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def bfloat16_autocast(kind: str, wanted: bool) -> torch.autocast:
    """Autocast to bfloat16, if wanted, on devices of this kind (`cpu`, `cuda`). A CPU without instructions
    for it stays in float32, because a step of a training would take up to ten times as long."""
    return torch.autocast(kind, torch.bfloat16, enabled=wanted and (kind != "cpu" or computes_bfloat16()))
