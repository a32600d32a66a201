"""Benchmarks of maps: building them from 10^5 to 10^7 points, opening and searching them with 1 to 1000
submaps.

The points are from a synthetic building. Map files hold the features of a few submaps, computed with the
shipped weights and repeated, because their values do not affect the time.
"""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diff2i2p_core.benchmarks.building import Building, building_of
from diff2i2p_core.benchmarks.measure import Case, OnFile
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.io.clouds import read_cloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.localization.retrieval import SubmapIndex
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.build import map_from_views, model_for_map, thinned
from diff2i2p_core.mapping.encode import encode_views
from diff2i2p_core.mapping.map_file import PointMap, load_map, save_map
from diff2i2p_core.mapping.packed import PackedSubmaps, pack
from diff2i2p_core.mapping.viewpoints import looking, sample_viewpoints
from diff2i2p_core.models.features import ImageFeatures

POINTS = (10**5, 10**6, 10**7)
SUBMAPS = (1, 10, 100, 1000)
SETTINGS = SubmapSettings(spacing=0.06)
"""For the lite network."""
Work = Callable[[], Any]


def cases() -> list[Case]:
    by_points: dict[str, Callable[[int, str], Work]] = {
        "read the .ply file": reading,
        "thin and sort into blocks": sorting,
        "choose viewpoints": viewpoints,
        "cut a submap": cutting,
        "cut and encode a submap": encoding,
    }
    by_submaps: dict[str, Callable[[int, str], Work]] = {
        "write the map file": writing,
        "open it, with its index": opening,
        "take a submap from it": taking,
        "rank all for an image": ranking,
    }
    runs = {
        "read the .ply file": 3,
        "thin and sort into blocks": 3,
        "choose viewpoints": 2,
        "write the map file": 3,
    }
    return [
        Case(f"{count:,} {what}: {name}", partial(prepare, count), most_runs=runs.get(name), apart=True)
        for what, counts, work in (("points", POINTS, by_points), ("submaps", SUBMAPS, by_submaps))
        for count in counts
        for name, prepare in work.items()
    ]


def reading(num_points: int, device: str) -> Work:
    del device
    path = _in_a_folder("building.ply")
    _elsewhere(_write_cloud, path, num_points)
    return OnFile(lambda: read_cloud(path), path)


def sorting(num_points: int, device: str) -> Work:
    del device
    cloud = _cloud(num_points)

    def work() -> BlockCloud:
        sparse = thinned(cloud, SETTINGS)
        return BlockCloud.of(sparse)

    return work


def viewpoints(num_points: int, device: str) -> Work:
    del device
    cloud = _cloud(num_points)
    return lambda: sample_viewpoints(cloud.points)


def cutting(num_points: int, device: str) -> Work:
    del device
    blocks, views = _blocks(num_points), itertools.cycle(_views(num_points))
    return lambda: blocks.cut(invert(next(views)), SETTINGS)


def encoding(num_points: int, device: str) -> Work:
    blocks, views = _blocks(num_points), itertools.cycle(_views(num_points))
    model, info = model_for_map(None, "a building", device)
    return lambda: list(encode_views(blocks, next(views)[None], model, info.settings))


def writing(num_submaps: int, device: str) -> Work:
    point_map, path = _map_of(num_submaps, device), _in_a_folder("building.map")
    return OnFile(lambda: save_map(point_map, path), path)


def opening(num_submaps: int, device: str) -> Work:
    path = _map_file(num_submaps)
    return OnFile(lambda: SubmapIndex(load_map(path).submaps, device), path)


def taking(num_submaps: int, device: str) -> Work:
    path = _map_file(num_submaps)
    submaps = load_map(path).submaps
    order = itertools.cycle(np.random.default_rng(0).permutation(num_submaps).tolist())
    return OnFile(lambda: submaps[next(order)].to(device), path)


def ranking(num_submaps: int, device: str) -> Work:
    path = _map_file(num_submaps)
    index = SubmapIndex(load_map(path).submaps, device)
    model, _ = model_for_map(None, "a building", device)
    size = (model.config.image.height or 480, 320)
    with torch.inference_mode():
        image: ImageFeatures = model.encode_image(
            torch.zeros(1, model.config.image_channels, *size, device=device)
        )[0]
    return OnFile(torch.inference_mode()(lambda: index.scores(image)), path)


def _views(num_points: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A hundred views in rooms all over the building, or fewer if it is small."""
    spaces = (
        building_of(num_points)[0].spaces if num_points < 10**6 else Building.of(num_points // 90_000).spaces
    )
    rooms = [spaces[i] for i in np.linspace(0, len(spaces) - 1, 25).astype(int)]
    positions = [np.add(box.low, box.high) / 2 * [1, 1, 0] + [0, 0, box.low[2] + 1.2] for box in rooms]
    return np.array([looking(position, yaw, 0.17) for position in positions for yaw in (0.3, 1.9, 3.4, 5.0)])


def _cloud(num_points: int) -> PointCloud:
    """Made in another process, so that its memory is not measured."""
    path = _in_a_folder("building.ply")
    _elsewhere(_write_cloud, path, num_points)
    return read_cloud(path)


def _blocks(num_points: int) -> BlockCloud:
    folder = _in_a_folder("blocks")
    folder.mkdir()
    _elsewhere(_write_blocks, folder, num_points)
    return BlockCloud.open(folder)


def _map_file(num_submaps: int) -> Path:
    path = _in_a_folder("building.map")
    _elsewhere(_write_map, path, num_submaps)
    return path


def _write_cloud(path: Path, num_points: int) -> None:
    cloud = building_of(num_points)[1]
    write_ply(path, cloud)


def _write_blocks(folder: Path, num_points: int) -> None:
    sparse = thinned(building_of(num_points)[1], SETTINGS)
    BlockCloud.of(sparse).save(folder)


def _write_map(path: Path, num_submaps: int) -> None:
    save_map(_map_of(num_submaps, "cpu"), path)


def _map_of(num_submaps: int, device: str) -> PointMap:
    """Up to ten submaps of a room, repeated."""
    model, info = model_for_map(None, "a building", device)
    few = map_from_views(building_of(10**5)[1], _views(10**5)[: min(num_submaps, 10)], model, info)
    blocks = list(itertools.islice(itertools.cycle(pack(few.submaps).blocks), num_submaps))
    poses = np.resize(few.views, (num_submaps, 4, 4))
    return PointMap(info, few.cloud, poses, PackedSubmaps(blocks))


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _in_a_folder(name: str) -> Path:
    """A path in a temporary folder that is removed when this process ends."""
    _folders.append(tempfile.TemporaryDirectory(prefix="diff2i2p-bench-"))
    return Path(_folders[-1].name) / name


def _elsewhere(work: Callable[..., None], *arguments: Any) -> None:
    """Run `work` in a separate process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(work, *arguments).result()
