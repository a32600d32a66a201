"""The optimizer of an experiment, and how its steps are computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from diff2i2p_core.engine.experiment import OptimizerConfig, TrainConfig
from diff2i2p_core.errors import InputError


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: OptimizerConfig, backbone: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """An optimizer of all parameters. Those of the `backbone` are a group of their own if they have another
    learning rate."""
    lr, decay = settings.lr, settings.weight_decay
    slow = {id(parameter) for parameter in backbone} if settings.backbone_lr != 1 else set()
    every = list(parameters)
    groups = [{"params": [p for p in every if id(p) not in slow], "factor": 1.0}]
    if slow:
        groups.append({"params": [p for p in every if id(p) in slow], "factor": settings.backbone_lr})
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, weight_decay=decay)
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    fused = all(p.is_cuda for p in every)  # one kernel for many tensors
    return kind(groups, lr=lr, weight_decay=decay, fused=fused or None)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Of all groups; that of the backbone is `backbone_lr` times this."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)  # older checkpoints have no factor


@contextmanager
def numerics(config: TrainConfig) -> Iterator[None]:
    """cuDNN's choice of algorithms and the search for NaN, within the context. InputError if NaN is found."""
    deterministic = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = config.deterministic or deterministic
    try:
        with torch.autograd.set_detect_anomaly(config.detect_anomaly):
            yield
    except RuntimeError as error:
        if config.detect_anomaly and "returned nan values" in str(error):
            raise InputError(
                f"{str(error).rstrip('.')}; the warning above shows its call; nothing was overwritten"
            ) from None
        raise
    finally:
        torch.backends.cudnn.deterministic = deterministic
