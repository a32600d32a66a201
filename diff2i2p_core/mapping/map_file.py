"""A map: points for display, submaps with cached network features, and what they were made with; one file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.files import atomic_path
from diff2i2p_core.mapping.submaps import SubmapSettings
from diff2i2p_core.models.features import SubmapFeatures

FORMAT = "diff2i2p-map-1"

_BY_POINT = ("points", "fine")
_BY_SUPERPOINT = ("superpoints", "tokens", "nodes", "node_valid", "patches")
_HALF = ("fine", "tokens", "nodes")
"""Kept as float16 in the file: features of the order of one, matched to three digits."""


@dataclass(frozen=True)
class MapInfo:
    """What a map was made from and with."""

    source: str
    weights_name: str
    weights_id: str
    """SHA-256 of the weights file."""
    mode: str
    point_features: str
    settings: SubmapSettings
    created: str = ""
    """ISO 8601, UTC."""

    def check_weights(self, name: str, identity: str, map_name: str) -> None:
        """`InputError` unless the features of the map `map_name` were made with these weights."""
        if identity != self.weights_id:
            raise InputError(
                f"{map_name}: made with weights '{self.weights_name}' ({self.weights_id[:12]}), given "
                f"'{name}' ({identity[:12]}); rebuild it with `diff2i2p map build --weights {name}`, or "
                "give its own weights"
            )

    @staticmethod
    def now() -> str:
        return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class PointMap:
    info: MapInfo
    points: NDArray[np.float32]
    """(N, 3) map frame, for overlays and display; the submaps have their own."""
    colors: NDArray[np.uint8] | None
    """(N, 3) RGB."""
    map_from_submap: NDArray[np.float64]
    """(S, 4, 4): the pose of each submap's view (optical frame)."""
    submaps: list[SubmapFeatures]


def save_map(point_map: PointMap, path: Path | str) -> None:
    """Write a map as safetensors with JSON metadata."""
    metadata = {"format": FORMAT, "info": json.dumps(asdict(point_map.info))}
    tensors: dict[str, Tensor] = {
        "points": torch.from_numpy(point_map.points),
        "map_from_submap": torch.from_numpy(np.ascontiguousarray(point_map.map_from_submap, np.float64)),
        "num_points": torch.tensor([len(s.points) for s in point_map.submaps], dtype=torch.int64),
        "num_superpoints": torch.tensor([len(s.superpoints) for s in point_map.submaps], dtype=torch.int64),
    }
    if point_map.colors is not None:
        tensors["colors"] = torch.from_numpy(point_map.colors)
    width = max(s.patches.shape[1] for s in point_map.submaps)
    for name in _BY_POINT + _BY_SUPERPOINT:
        parts = [getattr(s, name).cpu() for s in point_map.submaps]
        if name == "patches":  # padded with the submap's own "none"
            parts = [
                torch.nn.functional.pad(part, (0, width - part.shape[1]), value=len(s.points)).int()
                for part, s in zip(parts, point_map.submaps, strict=True)
            ]
        packed = torch.cat(parts)
        tensors[f"submaps.{name}"] = packed.half() if name in _HALF else packed
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)


def load_info(path: Path | str) -> tuple[MapInfo, dict[str, int]]:
    """What a map file says about itself, and its counts of points and submaps, without reading it whole."""
    with _opened(path) as file:
        info = _parse_info(path, file.metadata())
        counts = {
            "points": file.get_slice("points").get_shape()[0],
            "submaps": file.get_slice("map_from_submap").get_shape()[0],
            "submap_points": file.get_slice("submaps.points").get_shape()[0],
        }
    return info, counts


def load_map(path: Path | str) -> PointMap:
    """Read a map file; `InputError` where it is none, of another version, or damaged."""
    with _opened(path) as file:
        info = _parse_info(path, file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    lengths = {
        **dict.fromkeys(_BY_POINT, "num_points"),
        **dict.fromkeys(_BY_SUPERPOINT, "num_superpoints"),
    }
    wanted = {"points", "map_from_submap", *lengths.values(), *(f"submaps.{name}" for name in lengths)}
    if missing := wanted - tensors.keys():
        raise InputError(f"{path}: damaged (it lacks {min(missing)}); build the map again")
    count = len(tensors["map_from_submap"])
    for name, length in lengths.items():
        if len(tensors[length]) != count or int(tensors[length].sum()) != len(tensors[f"submaps.{name}"]):
            raise InputError(f"{path}: damaged (submaps.{name} does not add up); build the map again")
    if int(tensors["submaps.patches"].max()) > int(tensors["num_points"].max()):
        raise InputError(f"{path}: damaged (patches point nowhere); build the map again")
    parts = {}
    for name, length in lengths.items():
        tensor = tensors[f"submaps.{name}"]
        tensor = tensor.float() if name in _HALF else tensor.long() if name == "patches" else tensor
        parts[name] = tensor.split(tensors[length].tolist())
    submaps = [
        SubmapFeatures(**{f.name: parts[f.name][i] for f in fields(SubmapFeatures)}) for i in range(count)
    ]
    colors = tensors.get("colors")
    return PointMap(
        info,
        tensors["points"].numpy(),
        None if colors is None else colors.numpy(),
        tensors["map_from_submap"].numpy(),
        submaps,
    )


def _opened(path: Path | str) -> Any:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such map file; build one with `diff2i2p map build`")
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole map file ({error}); build the map again") from None


def _parse_info(path: Path | str, metadata: dict[str, str] | None) -> MapInfo:
    kind = (metadata or {}).get("format", "")
    if kind != FORMAT:
        what = f"is '{kind}'" if kind else "is no map"
        raise InputError(f"{path}: {what}, expected '{FORMAT}'; build one with `diff2i2p map build`")
    try:
        values = json.loads((metadata or {})["info"])
        return MapInfo(**{**values, "settings": SubmapSettings(**values["settings"])})
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: its description is damaged; build the map again") from None
