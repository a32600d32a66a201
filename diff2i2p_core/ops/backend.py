"""Which implementation an op runs: its Triton kernel on a GPU, plain torch elsewhere."""

from __future__ import annotations

import importlib.util
import os

from torch import Tensor

from diff2i2p_core.errors import InputError

VARIABLE = "DIFF2I2P_OPS"
CHOICES = ("auto", "torch", "triton")


def use_triton(tensor: Tensor) -> bool:
    """Whether an op should run its kernel on this input.

    The environment variable DIFF2I2P_OPS says `torch` (the reference everywhere), `triton` (the kernels
    everywhere: on the CPU they need TRITON_INTERPRET=1), or `auto`, the default: kernels on a GPU.
    """
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in CHOICES:
        raise InputError(f"{VARIABLE}={choice} is unknown; set one of {', '.join(CHOICES)}")
    if choice == "auto":
        return tensor.is_cuda and importlib.util.find_spec("triton") is not None
    return choice == "triton"
