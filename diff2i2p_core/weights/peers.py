"""The networks whose published checkpoints fit this implementation, recognised by their tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.released import ReleasedDataset, released_config

_STEM = "image_backbone.stem.conv.weight"
_TUNING = "tuning.net.0.weight"
_LISTED = 4
"""Maximum number of parts that an error lists."""


def config_of_state(state: Mapping[str, Tensor], dataset: ReleasedDataset) -> ModelConfig:
    """The configuration of a released state dict (with our names) that was trained for `dataset`.

    Diff2I2P has coordinates as inputs; it can be trained without (`refer_coordinate: False`), and tuning then
    gets features alone. 2D3D-MATR has neither coordinates nor tuning.
    """
    config = released_config(dataset)
    coordinates = _STEM not in state or state[_STEM].shape[1:2] != (1,)
    tuning = _TUNING in state or coordinates
    name = config.name
    if not coordinates:
        name = f"released-{dataset}-without-coordinates" if tuning else f"2d3dmatr-{dataset}"
    return config.model_copy(update={"name": name, "coordinates": coordinates, "tuning": tuning})


def check_known(state: Mapping[str, Tensor], config: ModelConfig, path: Path | str) -> None:
    """InputError, naming the parts, if the tensors are of a network that needs other code, such as B2-3D."""
    with torch.device("meta"):
        expected = Diff2I2P(config).state_dict().keys()
    foreign = _parts(state.keys() - expected)
    if foreign:
        lacking = _parts(expected - state.keys())
        lacks = f" and lacks {lacking}" if lacking else ""
        raise InputError(
            f"{path}: weights of another network, with {foreign} that are unknown here{lacks}; give weights "
            "of Diff2I2P or 2D3D-MATR, others need their own code"
        )


def _parts(names: Iterable[str]) -> str:
    """The modules of the tensors, with the number of tensors in each."""
    counts = Counter(".".join(name.split(".")[:2][: max(1, name.count("."))]) for name in sorted(names))
    words = [f"{part} ({count} tensor{'s' * (count > 1)})" for part, count in counts.items()]
    more = [f"{len(words) - _LISTED} more parts"] if len(words) > _LISTED else []
    return ", ".join(words[:_LISTED] + more)
