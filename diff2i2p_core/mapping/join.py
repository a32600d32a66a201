"""Joins maps: scans of one building in a common frame, or places side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.io.clouds import check_reach
from diff2i2p_core.io.files import full_disk_explained
from diff2i2p_core.mapping.map_file import MapInfo, PointMap, check_map_output, load_map, save_map
from diff2i2p_core.mapping.packed import PackedSubmaps, pack
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.typing import Array


def join_map_files(paths: Sequence[Path | str], out: Path | str, apart: float | None = None) -> PointMap:
    """Join map files to one at `out`; see `join_maps`.

    Raises:
        InputError: there are fewer than two maps, or one twice; they have different weights; `out` is one of
            them or cannot be written.
    """
    if len({os.path.realpath(path) for path in paths}) < max(2, len(paths)):
        raise InputError(f"{paths[0]}: nothing to join; give two maps or more, each once")
    check_map_output(out, paths)
    joined = join_maps({str(path): load_map(path) for path in paths}, apart)
    with full_disk_explained(out):
        save_map(joined, out)
    return joined


def join_maps(maps: Mapping[str, PointMap], apart: float | None = None) -> PointMap:
    """Join maps, given with their names for error messages, in the frame of the first.

    The maps must be in one frame; georeferenced ones may have different origins. With `apart`, each map is
    instead moved along x, so that it begins this many metres after the end of the previous one. Colours and
    intensity are kept if all maps have them. Submaps keep their features.
    """
    names, parts = list(maps), list(maps.values())
    for name, part in maps.items():
        _check_like(names[0], parts[0].info, name, part.info)
    offsets, end = np.zeros((len(parts), 3)), float(parts[0].cloud.points[:, 0].max())
    if apart is None:
        offsets[:] = [_offset(names[0], parts[0].info, name, part.info) for name, part in maps.items()]
    else:
        for offset, part in zip(offsets[1:], parts[1:], strict=True):
            offset[0] = end + apart - part.cloud.points[:, 0].min()
            end = float(part.cloud.points[:, 0].max()) + offset[0]
    clouds = [part.cloud.shifted(offset) for part, offset in zip(parts, offsets, strict=True)]
    for name, cloud in zip(names, clouds, strict=True):
        check_reach(cloud.points, f"{name}, in the frame of {names[0]}", "join maps of one place")
    poses = [compose(np.eye(3), offset) @ part.views for part, offset in zip(parts, offsets, strict=True)]
    sources = " + ".join(part.info.source for part in parts)
    side_by_side = "" if apart is None else f" ({apart:g} m apart along x)"
    return PointMap(
        replace(
            parts[0].info,
            source=sources + side_by_side,
            created=MapInfo.now(),
            spacing=max(part.spacing for part in parts),
        ),
        PointCloud.joined(clouds),
        np.concatenate(poses),
        PackedSubmaps([block for part in parts for block in pack(part.submaps).blocks]),
        _joined_views(parts, offsets),
    )


def _joined_views(parts: Sequence[PointMap], offsets: Array) -> ViewMap | None:
    """The rendered views, if all maps have them. InputError if they show different things."""
    view_maps = [part.rendered for part in parts if part.rendered is not None]
    if len(shown := dict.fromkeys(part.look.shows for part in view_maps)) > 1:
        raise InputError(f"the maps' views show {' or '.join(shown)}; build them from clouds with the same")
    return ViewMap.joined(view_maps, list(offsets)) if len(view_maps) == len(parts) else None


def _check_like(first_name: str, first: MapInfo, name: str, info: MapInfo) -> None:
    """InputError unless two maps have the same weights and the same submap settings."""
    info.check_weights(first.weights_name, first.weights_id, name)
    if info.settings != first.settings:
        raise InputError(
            f"{name}: its submaps have other settings than those of {first_name}; build it again"
        )


def _offset(first_name: str, first: MapInfo, name: str, info: MapInfo) -> Array:
    """(3,) where the zero of a map is in the first one. InputError if only one of them has an origin."""
    if first.origin is not None and info.origin is not None:
        return np.subtract(info.origin, first.origin)
    if first.origin != info.origin:
        without = name if info.origin is None else first_name
        raise InputError(f"{without}: has no origin, but another map has one; build it again with an origin")
    return np.zeros(3)
