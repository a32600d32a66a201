"""Cuts recordings into windows of consecutive frames, and splits the windows into train, val and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diff2i2p_core.datasets.recording import SUBSETS, Recording, Subset
from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.errors import InputError

_LEAST = 2
"""Minimum number of windows of a recording in a subset: one for the image, another for the cloud."""


@dataclass(frozen=True)
class Window:
    """Consecutive frames that give one cloud, in the frame of the first, and one image, the middle one."""

    recording: int
    """Index in the list of recordings."""
    first: int
    count: int
    """Frames by their index in the recording."""
    subset: Subset

    @property
    def image(self) -> int:
        """Index of the frame that is the image."""
        return self.first + self.count // 2


def cut_windows(recordings: Sequence[Recording], settings: PreparationSettings) -> list[Window]:
    """All windows in order. Those in the gaps between subsets of one recording are left out.

    Complete recordings go to the subset given by `val` and `test` or by the data set's authors. If `val` or
    `test` is a fraction instead, the subset gets the last part in time of the training recordings.
    """
    named = {subset: _named(recordings, getattr(settings, subset), subset) for subset in ("val", "test")}
    official = {recording.subset for recording in recordings}
    complete: list[Subset] = [
        next((s for s in SUBSETS if index in named.get(s, ())), recording.subset or "train")
        for index, recording in enumerate(recordings)
    ]
    fractions = {
        subset: value
        for subset in ("val", "test")
        if isinstance(value := getattr(settings, subset), float) and subset not in official
    }
    if "train" not in complete:
        fractions = {}  # there is nothing to take a part of
    windows = []
    for index, (recording, whole) in enumerate(zip(recordings, complete, strict=True)):
        count = len(recording.numbers) // settings.window
        parts: list[tuple[Subset, int]] = [(whole, count)]
        if whole == "train":
            parts = _in_time(count, fractions, settings)
        first = 0
        for subset, length in parts:
            for _ in range(length):
                windows.append(Window(index, first, settings.window, subset))
                first += settings.window
            first += settings.window * _gap(settings)
    for name, fraction in fractions.items():
        if fraction and all(window.subset != name for window in windows):
            longest = max(len(recording.numbers) for recording in recordings)
            raise InputError(
                f"no recording can be split into train, val and test: the longest has {longest} frames, "
                f"{longest // settings.window} clouds of {settings.window}; record more, or use smaller "
                "windows"
            )
    return windows


def _in_time(
    count: int, fractions: dict[str, float], settings: PreparationSettings
) -> list[tuple[Subset, int]]:
    """The subsets of one recording and their numbers of windows, in order of time. A recording that is too
    short is only for training."""
    lengths: list[tuple[Subset, int]] = [
        (subset, max(_LEAST, round(fractions[subset] * count))) for subset in SUBSETS if fractions.get(subset)
    ]
    left = count - sum(length + _gap(settings) for _, length in lengths)
    if left < _LEAST:
        return [("train", count)]
    return [("train", left), *lengths]


def _gap(settings: PreparationSettings) -> int:
    return math.ceil(settings.gap / settings.window)


def _named(recordings: Sequence[Recording], value: float | tuple[str, ...], subset: str) -> set[int]:
    """Indices of the recordings that `value` names, as scene or scene/sequence."""
    if isinstance(value, float):
        return set()
    indices = set()
    for name in value:
        matches = {n for n, r in enumerate(recordings) if name in (r.scene, f"{r.scene}/{r.sequence}")}
        if not matches:
            known = ", ".join(sorted({recording.scene for recording in recordings}))
            raise InputError(f"{subset} '{name}': no such scene; use one of {known}")
        indices |= matches
    return indices
