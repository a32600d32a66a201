"""The optimizer of an experiment, and how its steps are computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from diff2i2p_core.engine.experiment import OptimizerConfig, TrainConfig
from diff2i2p_core.errors import InputError


def make_optimizer(parameters: Iterable[nn.Parameter], settings: OptimizerConfig) -> torch.optim.Optimizer:
    lr, decay = settings.lr, settings.weight_decay
    if settings.kind == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=settings.momentum, weight_decay=decay)
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(parameters, lr=lr, weight_decay=decay)


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
