"""Weights of the geometry features: shipped ones, and those fine-tuned on a place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from diff2i2p_core.errors import InputError
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
    model = GeometryFeatures()
    try:
        model.load_state_dict({name: values.float() for name, values in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: no weights of geometry features ({reason}); give such a file") from None
    return model.eval()


def save_geometry(model: GeometryFeatures, path: Path, notes: Mapping[str, str]) -> None:
    """Write half-precision weights, with notes on how they were trained."""
    state = {name: values.half().contiguous() for name, values in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, {"format": _FORMAT, **notes})
