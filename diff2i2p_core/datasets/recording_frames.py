"""Posed RGB-D folders (`io.rgbd_folder.PosedFrames`) as recordings, one scene per folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from diff2i2p_core.datasets.recording import Subset
from diff2i2p_core.datasets.sources import Source
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.rgbd_folder import Frame, PosedFrames
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class FolderRecording:
    """One posed RGB-D folder."""

    folder: Path
    scene: str
    sequence: str = "seq-01"
    subset: Subset | None = None

    @property
    def numbers(self) -> list[int]:
        return _opened(self.folder).numbers

    @property
    def camera(self) -> Camera:
        return _opened(self.folder).camera

    @property
    def notes(self) -> list[str]:
        """Lines about what is left out or doubtful."""
        return _opened(self.folder).notes

    def world_from_camera(self, index: int) -> Array:
        return _opened(self.folder).pose(self.numbers[index])

    def frame(self, index: int) -> Frame:
        frames = _opened(self.folder)
        frame = frames[index]
        return replace(frame, depth=frames.registered_depth(frame))


def folders(source: Path) -> list[FolderRecording]:
    """The recording of a posed RGB-D folder, or one recording for each such folder in `source`."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give a posed RGB-D folder, or a folder of them")
    paths = (
        [source] if _has_frames(source) else sorted(path for path in source.iterdir() if _has_frames(path))
    )
    if not paths:
        raise InputError(f"{source}: holds no frame-NNNNNN.pose.txt; give a posed RGB-D folder")
    return [FolderRecording(path, path.resolve().name) for path in paths]


def _has_frames(path: Path) -> bool:
    return path.is_dir() and next(path.glob("frame-??????.pose.txt"), None) is not None


@lru_cache(maxsize=8)
def _opened(folder: Path) -> PosedFrames:
    return PosedFrames(folder)


SOURCE = Source(
    summary="Posed RGB-D folders; each is a scene.",
    path_help="Posed RGB-D folder, or a folder of such folders.",
    recordings=lambda path, work, options: folders(path),
)
