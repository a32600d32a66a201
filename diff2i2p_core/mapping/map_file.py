"""Map files: points for display, features of submaps and rendered views, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import ATTRIBUTES, PointCloud
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.io import clouds
from diff2i2p_core.io.files import atomic_path, check_name, check_output
from diff2i2p_core.io.tensor_file import StreamedTensor, write_tensors
from diff2i2p_core.mapping.packed import BY_POINT, BY_SUPERPOINT, HALF, Block, PackedSubmaps, pack
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.models.features import SubmapFeatures

FORMAT = "diff2i2p-map-1"


@dataclass(frozen=True)
class MapInfo:
    """What a map was built from and with."""

    source: str
    weights_name: str
    weights_id: str
    """SHA-256 of the weights file."""
    mode: str
    point_features: str
    settings: SubmapSettings
    created: str = ""
    """ISO 8601, UTC."""
    spacing: float = 0.0
    """Metres between the map's points; 0 in files of earlier versions."""
    origin: tuple[float, ...] | None = None
    """Coordinates (3,) in the source, such as UTM, of the map's zero. None if the map has its coordinates."""

    def check_weights(self, name: str, identity: str, map_name: str) -> None:
        """InputError unless the features of the map `map_name` were computed with these weights."""
        if identity != self.weights_id:
            raise InputError(
                f"{map_name}: made with weights '{self.weights_name}' ({self.weights_id[:12]}), given "
                f"'{name}' ({identity[:12]}); rebuild it with these weights, or give its own"
            )

    def as_dict(self) -> dict[str, Any]:
        """JSON types, with the names used in map files."""
        values = asdict(self)
        values["settings"]["voxel"] = values["settings"].pop("spacing")
        return values

    @classmethod
    def from_json(cls, text: str, name: str) -> MapInfo:
        """Parse the JSON of `as_dict`. An InputError begins with `name`."""
        try:
            values = json.loads(text)
            settings = values["settings"]
            settings["spacing"] = settings.pop("voxel")
            origin = None if values.get("origin") is None else tuple(map(float, values["origin"]))
            return cls(**{**values, "settings": SubmapSettings(**settings), "origin": origin})
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{name}: its description is damaged; build the map again") from None

    @staticmethod
    def now() -> str:
        return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class PointMap:
    info: MapInfo
    cloud: PointCloud
    """In the map frame, for alignment and display. The submaps have their own points."""
    views: NDArray[np.float64]
    """(V, 4, 4) map_from_view, optical frames: the view of each submap. Without submaps, where the map can be
    viewed from."""
    submaps: Sequence[SubmapFeatures]
    """One per view: a list in memory, or `PackedSubmaps` of a file, which are read when used. A map that is
    not for the network has none."""
    rendered: ViewMap | None = None
    """The views rendered from the map, if it has any."""

    @property
    def spacing(self) -> float:
        """Metres between the points of `cloud`."""
        return self.info.spacing or self.info.settings.spacing

    @property
    def origin(self) -> tuple[float, ...] | None:
        """Coordinates (3,) in the source of the map's zero. None if the map has the source's coordinates."""
        return self.info.origin

    @property
    def viewpoints(self) -> NDArray[np.float64]:
        """(V, 4, 4) all poses from which the map was viewed."""
        return (
            self.views if self.rendered is None else np.concatenate([self.views, self.rendered.views.poses])
        )

    @property
    def doubts(self) -> list[str]:
        """What may be wrong with it, one line each."""
        return [] if self.rendered is None else self.rendered.doubts

    @property
    def sizes(self) -> str:
        """The numbers of views and submaps, in words."""
        views = [] if self.rendered is None else [f"{len(self.rendered.views)} views"]
        sizes = [*views, *([f"{len(self.submaps)} submaps"] if len(self.submaps) else [])]
        return ", ".join(sizes) or "no features"

    @property
    def kinds(self) -> list[str]:
        """The matchers that it can be used with, in order of use. `depth` needs no features."""
        return [
            *(["views"] if self.rendered else []),
            "depth",
            *(["network"] if len(self.submaps) else []),
        ]


def check_map_output(path: Path | str, inputs: Iterable[Path | str | None]) -> None:
    """Check, before any work, that a map can be written to `path`; see `check_output`.

    Also InputError for an existing file that neither is a map nor is named like one: a frame of the input, a
    texture, or another file that would be lost by mistake.
    """
    check_output(path, inputs)
    if Path(path).exists() and Path(path).suffix != ".map":
        try:
            load_info(path)
        except InputError:
            raise InputError(f"{path}: is no map and is not overwritten; choose another output") from None


def save_map(point_map: PointMap, path: Path | str) -> None:
    """Write a map as safetensors with JSON metadata. Submaps in files are copied one by one."""
    packed = pack(point_map.submaps)
    tensors = {
        "points": StreamedTensor.of(point_map.cloud.points),
        "map_from_submap": StreamedTensor.of(np.asarray(point_map.views, np.float64)),
        **(submap_tensors(packed.blocks) if packed.blocks else {}),
        **{name: StreamedTensor.of(values) for name, values in point_map.cloud.attributes.items()},
    }
    metadata = {"format": FORMAT, "info": json.dumps(point_map.info.as_dict())}
    if point_map.rendered is not None:
        tensors |= {
            name: StreamedTensor.of(np.asarray(t)) for name, t in point_map.rendered.tensors().items()
        }
        metadata["rendered"] = json.dumps(point_map.rendered.settings_dict())
    with atomic_path(path) as temporary:
        write_tensors(temporary, tensors, metadata)


def submap_tensors(blocks: Sequence[Block]) -> dict[str, StreamedTensor]:
    """The file tensors for the submaps of blocks."""
    num_points = [n for block in blocks for n in block.num_points]
    num_superpoints = [n for block in blocks for n in block.num_superpoints]
    width = max((block.tensors["patches"].shape[1] for block in blocks), default=0)
    tensors = {
        "num_points": StreamedTensor.of(np.array(num_points, np.int64)),
        "num_superpoints": StreamedTensor.of(np.array(num_superpoints, np.int64)),
    }
    for name in (*BY_POINT, *BY_SUPERPOINT):
        first = blocks[0].tensors[name]
        rows = sum(num_points if name in BY_POINT else num_superpoints)
        if name == "patches":
            wide = partial(_wide_patches, width=width)
            dtype, shape, as_kept = "int32", (rows, width), wide
        else:
            dtype = "float16" if name in HALF else str(first.dtype).removeprefix("torch.")
            shape, as_kept = (rows, *first.shape[1:]), partial(_as_kept, name=name)
        tensors[f"submaps.{name}"] = StreamedTensor(
            dtype,
            shape,
            lambda as_kept=as_kept: map(as_kept, blocks),  # type: ignore[misc]
        )
    return tensors


def _as_kept(block: Block, name: str) -> NDArray[Any]:
    tensor = block.tensors[name].cpu()
    return np.asarray((tensor.half() if name in HALF else tensor).numpy())


def _wide_patches(block: Block, width: int) -> NDArray[np.int32]:
    """A block's patches with the width of the file, padded with each submap's padding index."""
    patches = block.tensors["patches"].cpu().numpy()
    none = np.repeat(block.num_points, block.num_superpoints).astype(np.int32)
    wide = np.repeat(none[:, None], width, axis=1)
    wide[:, : patches.shape[1]] = patches
    return wide


def load_info(path: Path | str) -> tuple[MapInfo, dict[str, int]]:
    """The description of a map file, and its numbers of points and submaps, without reading all of it."""
    with _opened(path) as file:
        info = _parse_info(path, file.metadata())
        named = {"points": "points", "submaps": "map_from_submap", "submap_points": "submaps.points"}
        named |= {"views": "views.poses", "view_features": "views.points"}
        counts = {
            what: file.get_slice(tensor).get_shape()[0] if tensor in file.keys() else 0  # noqa: SIM118
            for what, tensor in named.items()
        }
    return info, counts


def load_map(path: Path | str) -> PointMap:
    """Open a map file. InputError if it is not a map, from another version, or damaged.

    Only the points and the lists of sizes are read. Features stay in the file until a submap is used.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
        info = _parse_info(path, metadata)
    tensors = read_tensors(path)
    if missing := {"points", "map_from_submap"} - tensors.keys():
        raise InputError(f"{path}: damaged (it lacks {min(missing)}); build the map again")
    blocks = [block_of(path, tensors)] if {"num_points", "submaps.points"} & tensors.keys() else []
    if blocks and len(tensors["map_from_submap"]) != len(blocks[0].num_points):
        raise InputError(f"{path}: damaged (map_from_submap is inconsistent); build the map again")
    rendered = None
    try:
        if "rendered" in metadata:
            rendered = ViewMap.from_file(json.loads(metadata["rendered"]), tensors)
        cloud = PointCloud(**{n: tensors[n].numpy() for n in ("points", *ATTRIBUTES) if n in tensors})
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); build the map again") from None
    return PointMap(info, cloud, tensors["map_from_submap"].numpy(), PackedSubmaps(blocks), rendered)


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """All tensors of a safetensors file, as views of its pages. None is read before it is used."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict


def block_of(path: Path | str, tensors: dict[str, Tensor]) -> Block:
    """The submaps in a file's tensors."""
    lengths = {
        **dict.fromkeys(BY_POINT, "num_points"),
        **dict.fromkeys(BY_SUPERPOINT, "num_superpoints"),
    }
    if missing := {*lengths.values(), *(f"submaps.{name}" for name in lengths)} - tensors.keys():
        raise InputError(f"{path}: damaged (it lacks {min(missing)}); build the map again")
    counts = {name: tensors[name].tolist() for name in set(lengths.values())}
    for name, length in lengths.items():
        numbers = counts[length]
        if (
            len(numbers) != len(counts["num_points"])
            or min(numbers, default=0) < 0
            or sum(numbers) != len(tensors[f"submaps.{name}"])
        ):
            raise InputError(f"{path}: damaged (submaps.{name} is inconsistent); build the map again")
    return Block(
        {name: tensors[f"submaps.{name}"] for name in lengths},
        counts["num_points"],
        counts["num_superpoints"],
        str(path),
    )


def _opened(path: Path | str) -> Any:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such map file; build one with `diff2i2p map build`")
    if Path(path).suffix.lower() in clouds.SUFFIXES:
        raise InputError(f"{path}: a cloud, not a map file; make one from it with `diff2i2p map build`")
    check_name(path)
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a complete map file ({error}); build the map again") from None


def _parse_info(path: Path | str, metadata: dict[str, str] | None) -> MapInfo:
    kind = (metadata or {}).get("format", "")
    if kind != FORMAT:
        what = f"is '{kind}'" if kind else "is not a map"
        raise InputError(f"{path}: {what}, expected '{FORMAT}'; build one with `diff2i2p map build`")
    return MapInfo.from_json((metadata or {}).get("info", ""), str(path))
