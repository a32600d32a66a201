"""Weights published by the method's authors: known facts, and where fetched copies are stored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from diff2i2p_core.models.released import ReleasedDataset

PAGE = "https://github.com/mujc2021/Diff2I2P/releases/tag/ckpts"
"""The release that has the files."""
FOLDER_VARIABLE = "DIFF2I2P_WEIGHTS"
"""Environment variable for another folder for fetched weights."""


@dataclass(frozen=True)
class PublishedWeights:
    """One released checkpoint: rgbd mode, clouds without colour, 31.1 M parameters."""

    name: str
    dataset: ReleasedDataset
    """Benchmark it was trained for. A `.pth` does not say this, but its matching settings depend on it."""
    files: tuple[str, ...]
    """Names that the file, or a zip archive with it, may have in the release, the most likely first."""
    sha256: str | None
    """None if unknown; then that of the first copy is remembered."""
    licence: str
    note: str

    @property
    def urls(self) -> list[str]:
        return [f"{PAGE.replace('/tag/', '/download/')}/{name}" for name in self.files]

    @property
    def path(self) -> Path:
        """Where the fetched copy is, or would be."""
        return weights_folder() / f"{self.name}.pth"

    @property
    def record(self) -> Path:
        """The file with the SHA-256 of the fetched copy, in the format of sha256sum."""
        return self.path.with_name(f"{self.path.name}.sha256")


PUBLISHED = (
    PublishedWeights(
        name="released-7scenes",
        dataset="7scenes",
        files=("7scenes.pth", "ckpts.zip"),
        sha256=None,
        licence="none known; 7-Scenes is for non-commercial research",
        note="The authors' instructions name 7scenes.pth; the release's file is probably ckpts.zip. The "
        "SHA-256 is not known here.",
    ),
    PublishedWeights(
        name="released-rgbd_scenes_v2",
        dataset="rgbd_scenes_v2",
        files=("ckpts.zip",),
        sha256=None,
        licence="none known; see RGB-D Scenes V2's terms",
        note="The release's file is probably ckpts.zip; its SHA-256 is not known here.",
    ),
)


def weights_folder() -> Path:
    """The folder of fetched weights: $DIFF2I2P_WEIGHTS, else ~/.cache/diff2i2p/weights."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "~/.cache/diff2i2p/weights").expanduser()


def find_published(name: str) -> PublishedWeights | None:
    return next((entry for entry in PUBLISHED if entry.name == name), None)


def dataset_of(path: Path) -> ReleasedDataset:
    """The benchmark of a released `.pth`: as known for a fetched copy, else 7-Scenes."""
    fetched = (entry.dataset for entry in PUBLISHED if entry.path.absolute() == path.absolute())
    return next(fetched, "7scenes")
