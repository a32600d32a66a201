"""Makes a set of pairs from recordings: resumable, in processes, complete only with `dataset.json`."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from diff2i2p_core.datasets.dataset_file import (
    UNFINISHED,
    DatasetFile,
    begin,
    read_dataset,
    write_checksums,
)
from diff2i2p_core.datasets.fuse import Names, write_window
from diff2i2p_core.datasets.pair_choice import Group, Placed, chunks, pairs_of
from diff2i2p_core.datasets.recording import SUBSETS, Recording
from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.datasets.windows import Window, cut_windows
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import full_disk_explained
from diff2i2p_core.io.rgbd_folder import write_matrix
from diff2i2p_core.pairs.metadata import SAME_VOXELS, Entry, Layout, write_metadata
from diff2i2p_core.parallel import Run, WorkerLost, workers
from diff2i2p_core.typing import Progress

_Result = TypeVar("_Result")
_Call = tuple[Any, ...]


def prepare(
    kind: str,
    find: Callable[[Path], Sequence[Recording]],
    out: Path,
    settings: PreparationSettings,
    *,
    layout: Layout = "7scenes",
    processes: int = 1,
    cluster: str | None = None,
    progress: Progress | None = None,
) -> DatasetFile:
    """Write a set from the recordings that `find` returns. An interrupted run resumes; a finished set is
    kept.

    Args:
        kind: name of the source, for `dataset.json`.
        find: called with a folder for files that are needed until the set is finished.
        cluster: address of a Dask scheduler whose workers take the place of `processes`. They must see the
            recordings and `out` under the same absolute paths.
    """
    out = out if cluster is None else out.absolute()
    work = out / "work"
    with full_disk_explained(out):
        recordings = find(work)
        windows = cut_windows(recordings, settings)
        if begin(out, _source(kind, recordings, settings)):
            shutil.rmtree(work, ignore_errors=True)
            return read_dataset(out)
        tell = progress or (lambda what, done, total: None)
        with workers(processes, cluster, shared=out) as run:
            names = [Names.of(recordings[window.recording], window, layout) for window in windows]
            _write_cameras(out, recordings)
            points = _all(
                run,
                "fusing clouds",
                tell,
                write_window,
                [
                    (recordings[window.recording], window, settings, name, out / "data")
                    for window, name in zip(windows, names, strict=True)
                ],
            )
            groups = _groups(recordings, windows, names, layout, settings.max_depth)
            radius = SAME_VOXELS * settings.voxel
            parts = [(key, part) for key, group in groups.items() for part in chunks(group)]
            pairs = _all(
                run,
                "measuring overlaps",
                tell,
                pairs_of,
                [(groups[key], part, out / "data", radius, settings.min_overlap) for key, part in parts],
            )
        subsets: dict[str, list[Entry]] = {subset: [] for subset in SUBSETS}
        for (key, _), entries in zip(parts, pairs, strict=True):
            subsets[key[1]] += entries
        _check_pairs(recordings, windows, subsets, settings)
        files = [
            write_metadata(out, layout, subset, entries) for subset, entries in subsets.items() if entries
        ]
        files += [out / "data" / name for window_names in names for name in window_names]
        files += [_camera_file(out, scene) for scene in {recording.scene for recording in recordings}]
        for path in set((out / "data").rglob("*.*")) - set(files):
            path.unlink()  # from an earlier run with another split
        dataset = DatasetFile(
            source=_source(kind, recordings, settings),
            layout=layout,
            subsets={subset: _subset_counts(entries) for subset, entries in subsets.items()},
            scenes=_scene_counts(recordings, windows, points, subsets),
            checksums=write_checksums(out, files),
        )
        dataset.write(out)
        (out / UNFINISHED).unlink()
        shutil.rmtree(work, ignore_errors=True)
        return dataset


def _all(
    run: Run, what: str, tell: Progress, function: Callable[..., _Result], calls: Sequence[_Call]
) -> list[_Result]:
    """The results in the order of the calls. The first error is raised."""
    results: dict[int, _Result] = {}
    try:
        for number, result in run(partial(_call, function), calls):
            results[number] = result
            tell(what, len(results), len(calls))
    except WorkerLost as error:
        raise InputError(f"prepare: {error}; run the same again in one process to resume") from None
    return [results[number] for number in range(len(calls))]


def _call(function: Callable[..., _Result], arguments: _Call) -> _Result:
    return function(*arguments)


def _source(kind: str, recordings: Sequence[Recording], settings: PreparationSettings) -> dict[str, Any]:
    return {
        "kind": kind,
        "recordings": {f"{r.scene}/{r.sequence}": len(r.numbers) for r in recordings},
        "settings": settings.model_dump(mode="json"),
    }


def _camera_file(out: Path, scene: str) -> Path:
    return out / "data" / scene / "camera-intrinsics.txt"


def _write_cameras(out: Path, recordings: Sequence[Recording]) -> None:
    cameras = {recording.scene: recording.camera for recording in recordings}
    for recording in recordings:
        if recording.camera != cameras[recording.scene]:
            raise InputError(
                f"{recording.scene}/{recording.sequence}: has a different camera from the scene's "
                "other recordings; make it a separate scene"
            )
    for scene, camera in cameras.items():
        write_matrix(_camera_file(out, scene), camera.matrix, ".9g")


def _groups(
    recordings: Sequence[Recording],
    windows: Sequence[Window],
    names: Sequence[Names],
    layout: Layout,
    max_depth: float,
) -> dict[tuple[int, str], Group]:
    """The windows of each recording and subset."""
    members: dict[tuple[int, str], list[Placed]] = defaultdict(list)
    for window, name in zip(windows, names, strict=True):
        recording = recordings[window.recording]
        placed = Placed(
            name, recording.world_from_camera(window.image), recording.world_from_camera(window.first)
        )
        members[window.recording, window.subset].append(placed)
    return {
        key: Group(recordings[key[0]].scene, layout, recordings[key[0]].camera, tuple(placed), max_depth)
        for key, placed in members.items()
    }


def _check_pairs(
    recordings: Sequence[Recording],
    windows: Sequence[Window],
    subsets: dict[str, list[Entry]],
    settings: PreparationSettings,
) -> None:
    """InputError for scenes and subsets that have windows, but no pairs."""
    have = {entry.scene for entries in subsets.values() for entry in entries}
    without = sorted({recording.scene for recording in recordings} - have)
    what = f"scene {without[0]}" if without else ""
    for subset in {window.subset for window in windows}:
        if not what and not subsets[subset]:
            what = f"subset {subset}"
    if what:
        raise InputError(
            f"{what}: no image and cloud of different windows overlap by {settings.min_overlap:g}; lower "
            "the minimum overlap, record more slowly, or check poses and depth"
        )


def _subset_counts(entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "pairs": len(entries),
        "images": len({entry.image_file for entry in entries}),
        "clouds": len({entry.cloud_file for entry in entries}),
        "mean_overlap": round(float(np.mean([entry.overlap for entry in entries])), 4) if entries else None,
    }


def _scene_counts(
    recordings: Sequence[Recording],
    windows: Sequence[Window],
    points: Sequence[int],
    subsets: dict[str, list[Entry]],
) -> dict[str, dict[str, Any]]:
    counts: dict[str, Counter[str]] = {recording.scene: Counter() for recording in recordings}
    for recording in recordings:
        counts[recording.scene].update(recordings=1, frames=len(recording.numbers))
    for window, number in zip(windows, points, strict=True):
        counts[recordings[window.recording].scene].update(windows=1, points=number)
    for subset, entries in subsets.items():
        for entry in entries:
            counts[entry.scene][f"{subset}_pairs"] += 1
    return {scene: dict(counter) for scene, counter in counts.items()}
