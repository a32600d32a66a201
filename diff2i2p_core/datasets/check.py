"""Checks a set of pairs: files, shapes, transforms, overlaps, disjoint subsets, checksums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from diff2i2p_core.datasets.dataset_file import (
    CHECKSUMS,
    DATASET,
    UNFINISHED,
    DatasetFile,
    read_checksums,
    read_dataset,
)
from diff2i2p_core.datasets.overlap import depth_samples, overlap
from diff2i2p_core.datasets.recording import SUBSETS
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import sha256
from diff2i2p_core.pairs.benchmark_pairs import SPACING, read_cloud, read_frame
from diff2i2p_core.pairs.benchmarks import BENCHMARKS, depth_limit
from diff2i2p_core.pairs.metadata import SAME_VOXELS, Entry, Layout, read_metadata
from diff2i2p_core.typing import Progress

_TOLERANCE = 0.02
"""Maximum difference between an overlap written by `prepare` and the recomputed one."""
_LEAST_FRACTION = 0.3
"""Minimum fraction of the overlap stated in a published set, whose authors measured it differently."""


@dataclass(frozen=True)
class Check:
    """The result of a check."""

    layout: Layout
    subsets: dict[str, list[Entry]]
    dataset: DatasetFile | None
    """None for a published set."""
    overlaps: list[tuple[float, float]]
    """Stored and recomputed overlaps of a sample of pairs."""
    problems: list[str]
    """One line per problem; empty if the set is valid."""
    readable: bool
    """Whether there are pairs and all their files can be read."""

    def published_counts(self) -> list[str]:
        """For a published set: its numbers of pairs beside the papers'."""
        return [] if self.dataset is not None else published_counts(self.layout, self.subsets)


def published_counts(layout: Layout, subsets: Mapping[str, Sequence[Entry]]) -> list[str]:
    """For each subset of a benchmark, in words: the number of pairs that are used, and that in the papers."""
    facts, lines = BENCHMARKS[layout], []
    for subset, expected in facts.pairs.items():
        count = sum(entry.overlap >= facts.min_overlap for entry in subsets.get(subset, ()))
        same = "as in the papers" if count == expected else f"the papers have {expected}"
        lines.append(f"{subset}: {count} pairs, {same}")
    return lines


def check_set(root: Path, *, sample: int = 60, progress: Progress | None = None) -> Check:
    """Check all files of a set, and recompute the overlaps of `sample` pairs of each subset.

    A published set is checked as well, except for what is in `dataset.json`.
    """
    tell = progress or (lambda what, done, total: None)
    dataset = None
    if (root / DATASET).exists() or (root / UNFINISHED).exists() or not (root / "metadata").is_dir():
        dataset = read_dataset(root)
    layout = dataset.layout if dataset else _layout(root)
    problems: list[str] = []
    subsets: dict[str, list[Entry]] = {}
    for subset in SUBSETS:
        if dataset is None or dataset.subsets.get(subset, {}).get("pairs"):
            try:
                subsets[subset] = read_metadata(root, layout, subset)
            except InputError as error:
                problems.append(str(error))
    entries = [entry for pairs in subsets.values() for entry in pairs]
    broken = list(_broken_files(root, entries, tell))
    problems += [*_not_disjoint(subsets), *broken]
    overlaps: list[tuple[float, float]] = []
    if not broken:
        radius = SAME_VOXELS * float(dataset.source["settings"]["voxel"] if dataset else SPACING)
        max_depth = depth_limit(root, layout)
        for pairs in subsets.values():
            sampled = pairs[:: max(1, len(pairs) // sample)]
            for done, entry in enumerate(sampled, start=1):
                recomputed = _overlap(root, entry, radius, max_depth)
                overlaps.append((entry.overlap, recomputed))
                wrong = abs(recomputed - entry.overlap) > _TOLERANCE
                if wrong if dataset else recomputed < _LEAST_FRACTION * entry.overlap:
                    problems.append(
                        f"{entry.name}: overlap is stored as {entry.overlap:.3f}, but is {recomputed:.3f}"
                    )
                tell("overlaps", done, len(sampled))
    if dataset:
        for name, pairs in subsets.items():
            stored = dataset.subsets[name]["pairs"]
            if len(pairs) != stored:
                problems.append(f"{name}: {len(pairs)} pairs, but {DATASET} says {stored}")
        problems += _changed_files(root, dataset, tell)
    return Check(layout, subsets, dataset, overlaps, problems, bool(entries) and not broken)


def _layout(root: Path) -> Layout:
    full = any((root / "metadata").glob("*-full.*"))
    return "7scenes" if full else "rgbd_scenes_v2"


def _not_disjoint(subsets: dict[str, list[Entry]]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for subset, entries in subsets.items():
        names = {name for entry in entries for name in (entry.image_file, entry.cloud_file)}
        shared = sorted(name for name in names if name in seen)
        if shared:
            yield f"{shared[0]}: in {seen[shared[0]]} and in {subset} ({len(shared)} such files)"
        seen |= dict.fromkeys(names, subset)


def _broken_files(root: Path, entries: list[Entry], tell: Progress) -> Iterator[str]:
    """Reads each image with its depth and camera, and each cloud, once."""
    readers: dict[str, tuple[Callable[[Path, Entry], object], Entry]] = {}
    for entry in entries:
        readers[entry.image_file] = read_frame, entry
        readers[entry.cloud_file] = read_cloud, entry
    for done, (reader, entry) in enumerate(readers.values(), start=1):
        try:
            reader(root, entry)
        except InputError as error:
            yield str(error)
        tell("files", done, len(readers))


def _overlap(root: Path, entry: Entry, radius: float, max_depth: float) -> float:
    _, depth, camera = read_frame(root, entry, max_depth)
    tree = cKDTree(read_cloud(root, entry).astype(np.float64))
    return overlap(depth_samples(depth, camera, max_depth), tree, entry.camera_from_cloud, radius)


def _changed_files(root: Path, dataset: DatasetFile, tell: Progress) -> Iterator[str]:
    if not (root / CHECKSUMS).exists() or sha256(root / CHECKSUMS) != dataset.checksums:
        yield f"{root / CHECKSUMS}: missing or changed since the set was made"
        return
    checksums = read_checksums(root)
    for done, (name, digest) in enumerate(checksums.items(), start=1):
        if not (root / name).is_file():
            yield f"{root / name}: missing"
        elif sha256(root / name) != digest:
            yield f"{root / name}: changed since the set was made"
        tell("checksums", done, len(checksums))
