"""Occupancy grids as Nav2's map_server reads them: a picture (PGM) and a YAML file that describes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.io.files import atomic_path, check_output, write_text

FREE, OCCUPIED, UNKNOWN = 0, 100, -1
"""The values of nav_msgs/OccupancyGrid."""
SHADES = {FREE: 254, OCCUPIED: 0, UNKNOWN: 205}
"""What map_saver writes for them."""


@dataclass(frozen=True)
class OccupancyGrid:
    """Seen from above; the first row has the lowest y, the first column the lowest x."""

    cells: NDArray[np.int8]
    """(rows, columns) of `FREE`, `OCCUPIED`, `UNKNOWN`."""
    resolution: float
    """Metres per cell."""
    origin: tuple[float, float]
    """x and y of the outer corner of the first cell, in the map frame."""

    def share(self, value: int) -> float:
        """The fraction of the cells with a value."""
        return float((self.cells == value).mean())


def grid_files(out: Path | str, inputs: Iterable[Path | str | None] = ()) -> tuple[Path, Path]:
    """The YAML file and the picture of `out`, with or without suffix. InputError if one cannot be written."""
    out = Path(out)
    if out.suffix in (".yaml", ".pgm"):
        out = out.with_suffix("")
    files = out.with_name(f"{out.name}.yaml"), out.with_name(f"{out.name}.pgm")
    inputs = list(inputs)
    for file in files:
        check_output(file, inputs)
    return files


def write_grid(grid: OccupancyGrid, out: Path | str) -> None:
    """Write `out`.yaml and `out`.pgm."""
    description, picture = grid_files(out)
    pixels = np.empty(grid.cells.shape, np.uint8)
    for value, shade in SHADES.items():
        pixels[grid.cells == value] = shade
    rows, columns = grid.cells.shape
    with atomic_path(picture) as temporary:
        temporary.write_bytes(f"P5\n{columns} {rows}\n255\n".encode() + pixels[::-1].tobytes())
    x, y = grid.origin
    # 0.196 is just below the occupancy of the shade of unknown cells, (255 - 205) / 255.
    lines = (
        f"image: {picture.name}",
        "mode: trinary",
        f"resolution: {grid.resolution:g}",
        f"origin: [{x:.6f}, {y:.6f}, 0.0]",
        "negate: 0",
        "occupied_thresh: 0.65",
        "free_thresh: 0.196",
    )
    write_text(description, "\n".join(lines) + "\n")
