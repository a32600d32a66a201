"""The kinds of raw data that pairs are made from. A new one needs a file with a `SOURCE` and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.settings import Section
from diff2i2p_core.typing import Progress

if TYPE_CHECKING:
    from diff2i2p_core.datasets.recording import Recording
    from diff2i2p_core.pairs.metadata import Layout

SOURCES = {
    "7scenes": "diff2i2p_core.datasets.seven_scenes",
    "rgbd-scenes-v2": "diff2i2p_core.datasets.rgbd_scenes_v2",
    "kitti": "diff2i2p_core.datasets.kitti",
    "scannet": "diff2i2p_core.datasets.scannet",
    "tum": "diff2i2p_core.datasets.tum",
    "frames": "diff2i2p_core.datasets.recording_frames",
    "rosbag": "diff2i2p_core.datasets.rosbag",
}
"""The module of each source, imported when used. `diff2i2p prepare` has a command for each."""
SPLITS = ("gap", "val", "test")
"""The settings that split recordings into subsets."""


class SourceOptions(Section):
    """The options of a source. The docstring of a field is its help text."""

    model_config = ConfigDict(use_attribute_docstrings=True)


@dataclass(frozen=True)
class Source:
    """A kind of raw data, and how its recordings are found."""

    summary: str
    """One sentence of help."""
    path_help: str
    """Help text for the path of the raw data."""
    recordings: Callable[[Path, Path, Any], Sequence[Recording]]
    """Called with the path, a folder for files that are needed until the set is finished, and the options."""
    export: Callable[[Path, Path, Any, Progress], str] | None = None
    """For data that cannot be read frame by frame. Called first, with the path, the folder OUT/frames to
    write as a posed RGB-D folder, the options, and a function to report progress. Returns a line that says
    what was written. `recordings` then gets that folder instead of the path."""
    options: type[SourceOptions] = SourceOptions
    settings: PreparationSettings = field(default_factory=PreparationSettings)
    """The defaults."""
    splits: tuple[str, ...] = SPLITS
    """The settings in `SPLITS` that the user can choose; the data's authors fixed the others."""
    layout: Layout = "7scenes"
    path_name: str = "SRC"


def find_source(name: str) -> Source:
    """The source named `name` in `SOURCES`."""
    source: Source = import_module(SOURCES[name]).SOURCE
    return source
