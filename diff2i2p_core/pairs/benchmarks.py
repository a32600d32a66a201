"""The facts of the papers' benchmarks: one record for each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from diff2i2p_core.geometry.depth import MAX_DEPTH
from diff2i2p_core.pairs.metadata import Layout


@dataclass(frozen=True)
class Thresholds:
    """What counts as right (docs/method.md R26)."""

    acceptance_radius: float
    """Maximum metres between a pixel's true point and its match, for an inlier."""
    inlier_ratio: float
    """Minimum inlier ratio of a pair for FMR."""
    rmse: float
    """A pair is registered (RR) below this distance in metres of the cloud at both poses."""
    rre_deg: float | None = None
    """If given, a pair is registered below this rotation error in degrees, whatever its RMSE; together with
    `rte_m`, if both are given."""
    rte_m: float | None = None
    """The same for the distance in metres between the translations."""


COMMON = Thresholds(0.05, 0.1, 0.1)
"""Those of 2D3D-MATR on both benchmarks, and of nearly all papers since."""
STRICT = Thresholds(0.025, 0.25, 0.03)
"""Those of the released Diff2I2P code on RGB-D Scenes V2."""
OUTDOOR = Thresholds(0.6, 0.1, 2.0, rre_deg=5.0, rte_m=2.0)
"""A pair is registered below 5 degrees and 2 m, as in the literature. The others are our choice, for points
every 30 cm."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark in the layout of 2D3D-MATR."""

    title: str
    folder: str
    """Name of its folder, and of the archive with a copy of it."""
    released: Thresholds
    """Those of the released code; of KITTI, those in the literature."""
    min_overlap: float
    """Pairs with less overlap are left out."""
    test_points: int | None
    """Maximum number of points of a validation or test cloud."""
    max_depth: float = MAX_DEPTH
    """Depth beyond this many metres counts as unknown."""
    pairs: dict[str, int] = field(default_factory=dict)
    """The number of pairs in each subset, as the papers give it. Empty if there are no published pairs."""

    @property
    def archive(self) -> str:
        return f"{self.folder}.zip"


BENCHMARKS: dict[Layout, Benchmark] = {
    "7scenes": Benchmark(
        title="7-Scenes",
        folder="7Scenes",
        released=COMMON,
        min_overlap=0.5,
        test_points=None,
        pairs={"train": 4048, "val": 1011, "test": 2304},
    ),
    "rgbd_scenes_v2": Benchmark(
        title="RGB-D Scenes V2",
        folder="RGBDScenesV2",
        released=STRICT,
        min_overlap=0.0,
        test_points=30000,
        pairs={"train": 1748, "val": 236, "test": 497},
    ),
    "kitti": Benchmark(
        title="KITTI odometry",
        folder="KITTI",
        released=OUTDOOR,
        min_overlap=0.5,
        test_points=None,
        max_depth=60.0,
    ),
}


def is_prepared(root: Path) -> bool:
    """Whether `diff2i2p prepare` made a set, instead of the authors of a benchmark."""
    return (root / "dataset.json").is_file()


def depth_limit(root: Path, layout: Layout) -> float:
    """Metres up to which depth counts in a set: as `prepare` recorded it in `dataset.json`, else that of the
    benchmark."""
    try:
        source = json.loads((root / "dataset.json").read_text(encoding="utf-8"))["source"]
        return float(source["settings"]["max_depth"])
    except (OSError, ValueError, KeyError, TypeError):
        return BENCHMARKS[layout].max_depth
