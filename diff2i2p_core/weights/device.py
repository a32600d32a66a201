"""Where networks can run on this machine."""

from __future__ import annotations

import torch

from diff2i2p_core.errors import InputError


def checked_device(device: str) -> str:
    """Returns `device` (`cpu`, `cuda` or `cuda:N`). InputError if torch cannot use it here."""
    try:
        kind = torch.device(device)
    except RuntimeError:
        raise InputError(f"device '{device}': unknown; give cpu or cuda") from None
    there = gpus()
    if kind.type not in ("cpu", "cuda") or (kind.type == "cuda" and (kind.index or 0) >= there):
        others = f" or one of cuda:0 to cuda:{there - 1}" if there else ""
        raise InputError(f"device '{device}': not available here; give cpu{others}")
    return device


def automatic_device(device: str) -> torch.device:
    """The device `device`, where `auto` is a GPU if there is one. InputError if torch cannot use it here."""
    automatic = "cuda" if gpus() else "cpu"
    return torch.device(checked_device(automatic if device == "auto" else device))


def gpus() -> int:
    """How many GPUs torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
