"""Reads and writes weights: our safetensors with the configuration inside, and the released `.pth`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diff2i2p_core.errors import InputError, reason
from diff2i2p_core.io.files import atomic_path, check_name, sha256
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.released import ReleasedDataset
from diff2i2p_core.weights.peers import check_known, config_of_state
from diff2i2p_core.weights.published import PUBLISHED, dataset_of, find_published
from diff2i2p_core.weights.released import translate_state

FORMAT = "diff2i2p-weights-1"
DEFAULT_WEIGHTS = "lite-rgb"
COLORLESS_WEIGHTS = "lite-geometry"
"""The default for clouds without colours."""
TUNING, CONFIDENCE = "tuning.", "confidence."
SHIPPED = Path(__file__).parents[1] / "assets" / "weights"


def shipped_weights() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("lite-*.safetensors"))


def installed_weights() -> list[str]:
    """Names of the shipped and the fetched weights."""
    return shipped_weights() + [entry.name for entry in PUBLISHED if entry.path.is_file()]


def resolve_weights(weights: str | Path | None = None, *, colored: bool = True) -> Path:
    """The file for a shipped or fetched name, or for a path. None is the default for clouds with or without
    colours (`colored`)."""
    default = DEFAULT_WEIGHTS if colored else COLORLESS_WEIGHTS
    name = str(weights) if weights is not None else default
    check_name(name)
    path = Path(name)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{name}.safetensors"
    if shipped.is_file():
        return shipped
    if published := find_published(name):
        if published.path.is_file():
            return published.path
        raise InputError(f"weights '{name}': not fetched yet; run `diff2i2p weights fetch {name}`")
    known = ", ".join(installed_weights()) or "none is installed"
    raise InputError(f"weights '{name}': no such file or shipped name; give a path or one of: {known}")


def weights_id(path: Path | str) -> str:
    """SHA-256 of a weights file, in hexadecimal."""
    try:
        return sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a weights file") from None


def save_model(
    model: Diff2I2P, path: Path | str, notes: Mapping[str, str] | None = None, half: bool = False
) -> None:
    """Write weights as safetensors with the complete model configuration in the metadata; `half`: float16."""
    metadata = {
        "format": FORMAT,
        "config": model.config.model_dump_json(),
        "notes": json.dumps(dict(notes or {})),
    }
    state = {
        name: (tensor.half() if half and _rounded(name, tensor) else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata)


def _rounded(name: str, tensor: Tensor) -> bool:
    """Whether a tensor may be rounded: not positions of kernel points, and not counts."""
    return tensor.is_floating_point() and name.split(".")[-1] != "kernel_points"


def read_config(path: Path | str) -> tuple[ModelConfig, dict[str, str]]:
    """The model configuration and the notes in one of our safetensors files."""
    config, notes, _ = _read_safetensors(Path(path), tensors=False)
    return config, notes


def config_of(path: Path, dataset: ReleasedDataset | None = None) -> ModelConfig:
    """The configuration of weights in either format. See `load_model`."""
    if path.suffix == ".safetensors":
        return read_config(path)[0]
    return config_of_state(read_released(path), dataset or dataset_of(path))


def load_model(
    weights: Path | str | None = None,
    device: torch.device | str = "cpu",
    dataset: ReleasedDataset | None = None,
    config: ModelConfig | None = None,
) -> Diff2I2P:
    """A network in evaluation mode from weights in either format (a path, or a shipped or fetched name).

    A released `.pth` does not say which benchmark it was trained for; `dataset` selects its matching
    settings. None: those of the fetched weights, else of 7-Scenes. `config` replaces the configuration that
    the weights have; the tensors must fit it.
    """
    path = resolve_weights(weights)
    if path.suffix == ".safetensors":
        own, _, state = _read_safetensors(path)
    else:
        state = read_released(path)
        own = config_of_state(state, dataset or dataset_of(path))
        check_known(state, own, path)
    model = Diff2I2P(config or own)
    load_state(model, state, path)
    return model.eval().to(device)


def start_from(model: Diff2I2P, weights: Path | str) -> None:
    """Load weights of the same architecture into a network before training.

    Only one of the two may have correspondence tuning, or confidence. A new one keeps its initial weights,
    which change nothing.
    """
    initial, state = model.state_dict(), load_model(weights).state_dict()
    for part in (TUNING, CONFIDENCE):
        own = {name: tensor for name, tensor in initial.items() if name.startswith(part)}
        if bool(own) != any(name.startswith(part) for name in state):
            state = {name: tensor for name, tensor in state.items() if not name.startswith(part)} | own
    load_state(model, state, weights)


def load_state(model: Diff2I2P, state: Mapping[str, Tensor], path: Path | str) -> None:
    """Copy a state dict into a model. All names and shapes must match."""
    expected = model.state_dict()
    missing, unexpected = expected.keys() - state.keys(), state.keys() - expected.keys()
    common = expected.keys() & state.keys()
    misshapen = [name for name in common if expected[name].shape != state[name].shape]
    for kind, names in (("lacks", missing), ("has unknown", unexpected), ("has misshapen", misshapen)):
        if names:
            example = sorted(names)[0]
            raise InputError(
                f"{path}: {kind} {len(names)} tensors of model '{model.config.name}', such as '{example}'; "
                "give weights of this architecture"
            )
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})


def read_released(path: Path | str) -> dict[str, Tensor]:
    """A released checkpoint (a dict with "model", or a bare state dict) with our names. Runs no code."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a weights file") from None
    except Exception as error:
        raise InputError(
            f"{path}: not a checkpoint of plain tensors ({reason(error)}); download it again"
        ) from None
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()) or not state:
        raise InputError(f"{path}: holds no model state; give a released .pth checkpoint")
    return translate_state(state)


def _read_safetensors(
    path: Path, tensors: bool = True
) -> tuple[ModelConfig, dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); give a weights file") from None
    except SafetensorError as error:
        raise InputError(f"{path}: broken or cut off ({error}); download or write it again") from None
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: not weights of this project (no '{FORMAT}' inside); give such a file")
    try:
        config = ModelConfig.model_validate_json(metadata["config"])
    except (KeyError, ValidationError):
        raise InputError(
            f"{path}: its model configuration is not understood; it needs another version"
        ) from None
    return config, json.loads(metadata.get("notes", "{}")), state
