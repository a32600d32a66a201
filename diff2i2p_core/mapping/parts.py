"""Does the work of a build in parts. Each is written when it is done, so an interrupted build resumes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.io.files import atomic_path
from diff2i2p_core.io.tensor_file import StreamedTensor, write_tensors
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.describe import describe_views, pack_features
from diff2i2p_core.mapping.device_blocks import placed
from diff2i2p_core.mapping.encode import encode_views
from diff2i2p_core.mapping.looks import look_named
from diff2i2p_core.mapping.map_file import submap_tensors
from diff2i2p_core.mapping.packed import pack
from diff2i2p_core.mapping.packed_views import RenderSettings
from diff2i2p_core.models.view_networks import ViewNetworks
from diff2i2p_core.parallel import once_per_process, workers
from diff2i2p_core.typing import Array, Progress
from diff2i2p_core.weights.checkpoint import load_model
from diff2i2p_core.weights.geometry import geometry_state

PART_VIEWS = 8
"""Views per part. This is the most that each process can lose if the build is interrupted."""
PARTS_WORTH_A_PROCESS = 8
"""A process takes some seconds to start."""

Encode = Callable[[Array, range], dict[str, StreamedTensor]]
"""From poses (n, 4, 4) and their indices to the tensors of a part. Its tensor "kept" has the indices of the
views that see enough."""


@dataclass(frozen=True)
class Encoding:
    """One kind of features for all views, and how a process prepares for computing them."""

    name: str
    what: str
    """The name of the task in progress reports."""
    poses: Array
    """(V, 4, 4) map_from_view."""
    prepare: Callable[[], Encode]
    """Must be picklable."""


def encode_parts(
    folder: Path,
    encoding: Encoding,
    device: str,
    jobs: int | None,
    cluster: str | None,
    progress: Progress | None,
) -> list[Path]:
    """Do the remaining parts. Returns the files with the features, in the order of their views.

    `jobs` processes (None: as many as speed it up; on a GPU only this one), or the workers of a Dask
    `cluster`.
    """
    total = len(encoding.poses)
    parts = {
        first: folder / f"{encoding.name}-{first:06d}.safetensors" for first in range(0, total, PART_VIEWS)
    }
    missing = [first for first, path in parts.items() if not path.is_file()]
    if device != "cpu":
        jobs = 1
    elif jobs is None:
        jobs = min(os.cpu_count() or 1, -(-len(missing) // PARTS_WORTH_A_PROCESS))
    done = min(PART_VIEWS * (len(parts) - len(missing)), total)
    tasks = ((first, encoding.poses[first : first + PART_VIEWS], parts[first]) for first in missing)
    with workers(max(jobs, 1), cluster, shared=folder) as run:
        for _, views in run(partial(_write_part, encoding.prepare), tasks):
            done += views
            if progress is not None:
                progress(encoding.what, done, total)
    return list(parts.values())


def _write_part(prepare: Callable[[], Encode], task: tuple[int, Array, Path]) -> int:
    """Write the part whose first view has the given index. Returns its number of views."""
    first, poses, out = task
    tensors = once_per_process(prepare)(poses, range(first, first + len(poses)))
    with atomic_path(out) as path:
        write_tensors(path, tensors)
    return len(poses)


def submap_encoder(cloud: Path, weights: Path | str, settings: SubmapSettings, device: str) -> Encode:
    """Computes the network's features of submaps cut from the `BlockCloud` in a folder."""
    model, blocks = load_model(weights, device), BlockCloud.open(cloud)

    def encode(poses: Array, numbers: range) -> dict[str, StreamedTensor]:
        encoded = encode_views(blocks, poses, model, settings)
        features = {number: submap for number, submap in zip(numbers, encoded, strict=True) if submap}
        tensors = submap_tensors(pack(list(features.values())).blocks) if features else {}
        return {**tensors, "kept": StreamedTensor.of(np.array(list(features), np.int64))}

    return encode


OWN_NETWORKS = "networks.safetensors"
"""The weights of networks to describe views with, beside their cloud, if the shipped ones are not used."""


def view_networks(cloud: Path, settings: RenderSettings, device: str) -> ViewNetworks:
    """The networks that describe views of the `BlockCloud` in a folder."""
    own = cloud / OWN_NETWORKS
    state = geometry_state(own) if own.is_file() else None
    return look_named(settings.look).networks(device, state)


def view_encoder(cloud: Path, spacing: float, settings: RenderSettings, device: str) -> Encode:
    """Computes local features of views rendered from the `BlockCloud` in a folder."""
    networks = view_networks(cloud, settings, device)
    blocks = placed(BlockCloud.open(cloud), look_named(settings.look), networks.device)

    def encode(poses: Array, numbers: range) -> dict[str, StreamedTensor]:
        views = describe_views(blocks, spacing, poses, settings, networks)
        features = {number: view for number, view in zip(numbers, views, strict=True) if view is not None}
        counts, points, descriptors = pack_features(list(features.values()))
        tensors = {
            "kept": np.array(list(features), np.int64),
            "counts": np.array(counts, np.int64),
            "points": points,
            "descriptors": descriptors,
        }
        return {name: StreamedTensor.of(np.asarray(values)) for name, values in tensors.items()}

    return encode
