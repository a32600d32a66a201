"""Building a map file of any size: in worker processes, and going on where an earlier build was stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.files import atomic_path, check_output, full_disk_explained, write_text
from diff2i2p_core.io.tensor_file import StreamedTensor, write_tensors
from diff2i2p_core.mapping.blocks import BlockCloud, open_arrays, save_arrays
from diff2i2p_core.mapping.build import map_info, read_source, sees_nothing, thinned
from diff2i2p_core.mapping.encode import encode_views
from diff2i2p_core.mapping.map_file import (
    MapInfo,
    PointMap,
    block_of,
    load_map,
    read_tensors,
    save_map,
    submap_tensors,
)
from diff2i2p_core.mapping.packed import Block, PackedSubmaps, pack
from diff2i2p_core.mapping.workers import WorkerLost, work
from diff2i2p_core.mapping.workplace import fingerprint, workplace
from diff2i2p_core.typing import Progress
from diff2i2p_core.weights.checkpoint import load_model, resolve_weights, weights_id

PART_VIEWS = 8
"""Views whose submaps a build writes at a time: what is lost at most, by each process, when it is stopped."""
PARTS_WORTH_A_PROCESS = 8
"""A process takes some seconds to start."""
BUILD = 3
"""Raise it when the same input gives other submaps: unfinished builds of before are then thrown away."""


def build_map(
    source: Path | str,
    out: Path | str,
    *,
    weights: Path | str | None = None,
    trajectory: Path | str | None = None,
    up: str = "z",
    device: str = "cpu",
    jobs: int | None = 1,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> PointMap:
    """Build a map file from a cloud file or a posed RGB-D folder; see `read_source` for the views.

    `jobs` worker processes encode the submaps (None: as many as pay; on a GPU this one alone). A build that
    was stopped goes on where it was; `note` gets lines about that. Memory needed: the cloud's, and a few
    submaps a job. InputError, before any work, if `out` is an input or cannot be written.
    """
    out = Path(out)
    networks = [resolve_weights(weights, colored=colored) for colored in (True, False)]
    check_output(out, [source, trajectory, *networks])
    inputs = {
        "source": fingerprint(Path(source)),
        "trajectory": fingerprint(Path(trajectory)) if trajectory else "",
        "weights": "".join(weights_id(path) for path in networks),
        "settings": repr((BUILD, up)),
    }
    with full_disk_explained(out), workplace(out, inputs, note) as folder:
        try:
            plan = folder / "plan"
            if not plan.is_dir():
                cloud, views = read_source(source, trajectory=trajectory, up=up, progress=progress, note=note)
                info = map_info(resolve_weights(weights, colored=cloud.colors is not None), str(source))
                _save_plan(plan, cloud, views, info)
                del cloud
            info = MapInfo.from_json((plan / "info.json").read_text(encoding="utf-8"), str(plan))
            network = resolve_weights(weights, colored=BlockCloud.open(plan).cloud.colors is not None)
            parts = _encode_parts(folder, network, info, device, jobs, progress)
            point_map = _assemble(plan, parts, info)
            save_map(point_map, folder / "whole.map")
        except InputError:
            shutil.rmtree(folder)  # it would fail again
            raise
        except WorkerLost:
            raise InputError(
                f"{out}: a worker process was ended, perhaps for want of memory; run the same again with "
                "fewer jobs, what is done is kept"
            ) from None
        (folder / "whole.map").replace(out)
    return load_map(out)


def _save_plan(folder: Path, cloud: PointCloud, views: NDArray[np.float64], info: MapInfo) -> None:
    """What the workers share, and the points to show, as arrays that are mapped into memory."""
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    sparse = thinned(cloud, info.settings)
    BlockCloud.of(sparse).save(unfinished)
    np.save(unfinished / "views.npy", views)
    write_text(unfinished / "info.json", json.dumps(info.as_dict()))
    (unfinished / "shown").mkdir()
    # in the order that the localizer needs them in
    save_arrays(unfinished / "shown", BlockCloud.of(sparse.thinned(info.spacing)).cloud)
    unfinished.rename(folder)


def _encode_parts(
    folder: Path,
    weights: Path,
    info: MapInfo,
    device: str,
    jobs: int | None,
    progress: Progress | None,
) -> list[Path]:
    """Encode what is not yet done; the files, in the order of their views, that hold the submaps."""
    num_views = len(np.load(folder / "plan" / "views.npy", mmap_mode="r"))
    parts = {first: folder / f"part-{first:06d}.safetensors" for first in range(0, num_views, PART_VIEWS)}
    missing = [first for first, path in parts.items() if not path.is_file()]
    if device != "cpu":
        jobs = 1
    elif jobs is None:
        jobs = min(os.cpu_count() or 1, -(-len(missing) // PARTS_WORTH_A_PROCESS))
    done = min(PART_VIEWS * (len(parts) - len(missing)), num_views)
    for first in work(partial(_part_maker, folder, weights, info, device, jobs), missing, max(jobs, 1)):
        done = min(done + len(range(num_views)[first : first + PART_VIEWS]), num_views)
        if progress is not None:
            progress("encoding submaps", done, num_views)
    return list(parts.values())


def _part_maker(folder: Path, weights: Path, info: MapInfo, device: str, jobs: int) -> Callable[[int], int]:
    """The function that writes the part file whose first view has the given number."""
    if jobs > 1:
        torch.set_num_threads(1)
    model = load_model(weights, device)
    cloud = BlockCloud.open(folder / "plan")
    views = np.load(folder / "plan" / "views.npy")

    def make(first: int) -> int:
        numbers = range(len(views))[first : first + PART_VIEWS]
        encoded = encode_views(cloud, views[numbers.start : numbers.stop], model, info.settings)
        found = {number: submap for number, submap in zip(numbers, encoded, strict=True) if submap}
        tensors = submap_tensors(pack(list(found.values())).blocks) if found else {}
        tensors["views"] = StreamedTensor.of(np.array(list(found), np.int64))
        with atomic_path(folder / f"part-{first:06d}.safetensors") as path:
            write_tensors(path, tensors)
        return first

    return make


def _assemble(plan: Path, parts: list[Path], info: MapInfo) -> PointMap:
    """The map of all parts. Its submaps stay in the parts' files."""
    views = np.load(plan / "views.npy")
    blocks, chosen = list[Block](), list[int]()
    for path in parts:
        tensors = read_tensors(path)
        if len(tensors["views"]):
            blocks.append(block_of(path, tensors))
            chosen += tensors["views"].tolist()
    if not blocks:
        raise sees_nothing(info, len(views))
    return PointMap(info, open_arrays(plan / "shown"), views[chosen], PackedSubmaps(blocks))
