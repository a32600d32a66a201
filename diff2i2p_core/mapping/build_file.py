"""Builds map files of any size, in worker processes. Resumes an interrupted build."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.clouds import Origin
from diff2i2p_core.io.files import full_disk_explained, write_text
from diff2i2p_core.mapping.blocks import BlockCloud, open_arrays, save_arrays
from diff2i2p_core.mapping.build import map_info, sees_nothing, thinned
from diff2i2p_core.mapping.denoise import denoised
from diff2i2p_core.mapping.describe import rendering_of
from diff2i2p_core.mapping.looks import look_of
from diff2i2p_core.mapping.map_file import (
    MapInfo,
    PointMap,
    block_of,
    check_map_output,
    load_map,
    read_tensors,
    save_map,
)
from diff2i2p_core.mapping.matchers import Matcher, kinds_for
from diff2i2p_core.mapping.packed import Block, PackedSubmaps
from diff2i2p_core.mapping.packed_views import PackedViews, RenderSettings
from diff2i2p_core.mapping.parts import (
    OWN_NETWORKS,
    Encoding,
    encode_parts,
    submap_encoder,
    view_encoder,
    view_networks,
)
from diff2i2p_core.mapping.source import RENDER_SPACING, MapSource, read_source
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.mapping.workplace import fingerprint, workplace
from diff2i2p_core.parallel import ClusterError, WorkerLost, check_cluster
from diff2i2p_core.typing import Progress
from diff2i2p_core.weights.checkpoint import SHIPPED, resolve_weights, weights_id
from diff2i2p_core.weights.geometry import split_weights

BUILD = 9
"""Increase this when the same input gives different features, so that old unfinished builds are discarded."""


def build_map(
    source: Path | str,
    out: Path | str,
    *,
    matcher: Matcher = "auto",
    weights: Path | str | None = None,
    trajectory: Path | str | None = None,
    up: str = "auto",
    origin: Origin = None,
    device: str = "cpu",
    jobs: int | None = 1,
    cluster: str | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> PointMap:
    """Build a map file from a cloud file or a posed RGB-D folder; see `read_source` for views and `origin`.

    `matcher` selects the features: rendered `views`, submaps of the `network`, none for `depth`, or `auto`,
    all of them. `weights` are for the network, or describe views of shapes. `jobs` worker processes compute
    the features (None: as many as speed it up; on a GPU only this one), or the workers of a Dask `cluster`,
    which must see the folder of `out`. An interrupted build resumes; `note` gets lines about that. It needs
    memory for the cloud, and for a few views per job. InputError, before any work, if `out` is an input or
    cannot be written.
    """
    out = Path(out) if cluster is None else Path(out).absolute()
    weights, own = split_weights(weights)
    networks = [resolve_weights(weights, colored=colored) for colored in (True, False)]
    check_map_output(out, [source, trajectory, own, *networks])
    inputs = {
        "source": fingerprint(Path(source)),
        "trajectory": fingerprint(Path(trajectory)) if trajectory else "",
        "weights": "".join(weights_id(path) for path in (*networks, *([own] if own else []))),
        "settings": repr((BUILD, up, matcher, np.asarray(origin).tolist())),
    }
    with full_disk_explained(out), workplace(out, inputs, note) as folder:
        check_cluster(cluster, folder)
        try:
            plan = folder / "plan"
            if not plan.is_dir():
                content = read_source(
                    source,
                    trajectory=trajectory,
                    up=up,
                    origin=origin,
                    matcher=matcher,
                    progress=progress,
                    note=note,
                )
                info = map_info(
                    resolve_weights(weights, colored=content.cloud.colors is not None), str(source)
                )
                if content.origin is not None:
                    info = replace(info, origin=tuple(map(float, content.origin)))
                _save_plan(plan, content, info, matcher, own, progress, note)
                del content
            info = MapInfo.from_json((plan / "info.json").read_text(encoding="utf-8"), str(plan))
            encode = partial(
                encode_parts, folder, device=device, jobs=jobs, cluster=cluster, progress=progress
            )
            point_map = _encoded(plan, info, weights, device, encode)
            save_map(point_map, folder / "whole.map")
        except ClusterError:
            raise
        except InputError:
            shutil.rmtree(folder)  # it would fail again
            raise
        except WorkerLost as error:
            raise InputError(f"{out}: {error}; run the same again with fewer jobs to resume") from None
        (folder / "whole.map").replace(out)
    return load_map(out)


def _save_plan(
    folder: Path,
    source: MapSource,
    info: MapInfo,
    matcher: Matcher,
    own: Path | None,
    progress: Progress | None,
    note: Callable[[str], None],
) -> None:
    """Save what the workers share, and the points to show, as arrays for memory mapping.

    There is one folder for each kind of features. `own` weights describe the views.
    """
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    source = replace(source, cloud=denoised(source.cloud, progress, note))
    look = look_of(source.cloud)
    kinds = kinds_for(matcher, look, note)
    for name in (*kinds, "shown"):
        (unfinished / name).mkdir(parents=True)
    sparse = thinned(source.cloud, info.settings)
    if "network" in kinds:
        BlockCloud.of(sparse).save(unfinished / "network")
        np.save(unfinished / "network" / "views.npy", source.submap_views)
    if "views" in kinds:
        fine = BlockCloud.of(source.cloud.thinned(RENDER_SPACING))
        fine.save(unfinished / "views")
        np.save(unfinished / "views" / "views.npy", source.render_views)
        if own is not None:
            shutil.copyfile(own, unfinished / "views" / OWN_NETWORKS)
        spacing, settings = rendering_of(fine, look)
        rendering = {"spacing": spacing, "views": asdict(settings)}
        write_text(unfinished / "views" / "rendering.json", json.dumps(rendering))
    if not kinds:
        np.save(unfinished / "shown" / "views.npy", source.submap_views)
    # in the order in which the localizer needs them
    save_arrays(unfinished / "shown", BlockCloud.of(sparse.thinned(info.spacing)).cloud)
    write_text(unfinished / "info.json", json.dumps(info.as_dict()))
    unfinished.rename(folder)


def _encoded(
    plan: Path,
    info: MapInfo,
    weights: Path | str | None,
    device: str,
    encode: Callable[[Encoding], list[Path]],
) -> PointMap:
    """The map. Large features stay in the files of the parts."""
    cloud = open_arrays(plan / "shown")
    submaps, views, rendered = PackedSubmaps([]), np.empty((0, 4, 4)), None
    if (plan / "shown" / "views.npy").is_file():
        views = np.load(plan / "shown" / "views.npy")
    if (plan / "network").is_dir():
        path = resolve_weights(weights, colored=cloud.colors is not None)
        # A worker of a cluster finds shipped weights in its own installation.
        network = path.stem if path.parent == SHIPPED else path.absolute()
        poses = np.load(plan / "network" / "views.npy")
        prepare = partial(submap_encoder, plan / "network", network, info.settings, device)
        encoding = Encoding("part", "encoding submaps", poses, prepare)
        submaps, kept = _packed_submaps(encode(encoding))
        if not kept and not (plan / "views").is_dir():
            raise sees_nothing(info, len(poses))
        views = poses[kept]
    if (plan / "views").is_dir():
        poses = np.load(plan / "views" / "views.npy")
        rendering = json.loads((plan / "views" / "rendering.json").read_text(encoding="utf-8"))
        spacing, settings = rendering["spacing"], RenderSettings(**rendering["views"])
        prepare = partial(view_encoder, plan / "views", spacing, settings, device)
        encoding = Encoding("views", "rendering views", poses, prepare)
        packed = _packed_views(encode(encoding), settings, poses)
        if packed is None and not len(submaps):
            raise sees_nothing(info, len(poses))
        if packed is not None:
            state = view_networks(plan / "views", settings, "cpu").state()
            tuned = (plan / "views" / OWN_NETWORKS).is_file()
            rendered = ViewMap(packed, BlockCloud.open(plan / "views"), spacing, state, tuned)
    return PointMap(info, cloud, views, submaps, rendered)


def _packed_submaps(parts: list[Path]) -> tuple[PackedSubmaps, list[int]]:
    """The submaps of all parts, and the indices of their views."""
    blocks, kept = list[Block](), list[int]()
    for path in parts:
        tensors = read_tensors(path)
        if len(tensors["kept"]):
            blocks.append(block_of(path, tensors))
            kept += tensors["kept"].tolist()
    return PackedSubmaps(blocks), kept


def _packed_views(parts: list[Path], settings: RenderSettings, poses: np.ndarray) -> PackedViews | None:
    """The rendered views of all parts. None if no view sees enough."""
    tensors = [read_tensors(path) for path in parts]
    kept = torch.cat([part["kept"] for part in tensors]).tolist()
    if not kept:
        return None
    counts = torch.cat([part["counts"] for part in tensors]).tolist()
    points, descriptors = (torch.cat([part[name] for part in tensors]) for name in ("points", "descriptors"))
    return PackedViews.of(settings, poses[kept], counts, points, descriptors)
