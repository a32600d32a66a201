"""Weights of the geometry features: shipped ones, and those fine-tuned on a place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from diff2i2p_core.errors import InputError, located
from diff2i2p_core.io.files import atomic_path
from diff2i2p_core.models.geometry_features import GeometryFeatures
from diff2i2p_core.weights.checkpoint import SHIPPED

NAME = "geometry-views"
_FORMAT = "diff2i2p-geometry-1"


def geometry_weights() -> Path:
    """The shipped weights."""
    return SHIPPED / f"{NAME}.safetensors"


def resolve_geometry(weights: str | Path) -> Path:
    """The file for the shipped name or for a path."""
    return geometry_weights() if str(weights) == NAME else Path(weights)


def load_geometry(path: Path | None = None) -> GeometryFeatures:
    """The networks with the shipped weights or those of a file. InputError for another file."""
    path = path or geometry_weights()
    state = geometry_state(path)
    with located(path):
        return geometry_of(state)


def geometry_state(path: Path) -> dict[str, Tensor]:
    """The tensors of such a file."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give weights of geometry features") from None


def geometry_of(state: Mapping[str, Tensor]) -> GeometryFeatures:
    """The networks with these weights. InputError if they are of others, such as another version's."""
    model = GeometryFeatures()
    try:
        model.load_state_dict({key: values.float() for key, values in state.items()})
    except RuntimeError:
        raise InputError(
            "the weights are not of this version's geometry features; give such weights, or build the map "
            "again"
        ) from None
    return model.eval()


def split_weights(weights: Path | str | None) -> tuple[Path | str | None, Path | None]:
    """What a user gave as weights: those of the network, or else a file with those of geometry features."""
    if weights is None or Path(weights).suffix != ".safetensors" or not Path(weights).is_file():
        return weights, None
    try:
        with safe_open(weights, "pt") as file:
            own = (file.metadata() or {}).get("format") == _FORMAT
    except SafetensorError:
        own = False  # reading the network's weights gives the reason
    return (None, Path(weights)) if own else (weights, None)


def save_geometry(model: GeometryFeatures, path: Path, notes: Mapping[str, str]) -> None:
    """Write half-precision weights, with notes on how they were trained."""
    state = {name: values.half().contiguous() for name, values in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, {"format": _FORMAT, **notes})
