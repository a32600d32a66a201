"""What the demo plays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.demo.sample import folder_sample
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.rooms.room import make_room, write_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames")
    looking = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    poses = [compose(looking, (2.0, 0.5 + 0.1 * i, 1.4)) for i in range(8)]
    write_frames(path, make_room(3), Camera(32, 24, 26, 26, 15.5, 11.5), poses, first=10, noise=False)
    return path


def test_the_first_three_quarters_make_the_map(folder: Path) -> None:
    sample = folder_sample(folder, None)
    assert sample.map_numbers == [10, 11, 12, 13, 14, 15]
    assert sample.query_numbers == [16, 17]


def test_a_chosen_split_and_a_limit_that_spreads_evenly(folder: Path) -> None:
    sample = folder_sample(folder, 11).limited(3)
    assert sample.map_numbers == [10, 11]
    assert sample.query_numbers == [12, 14, 16]


@pytest.mark.parametrize("map_until", [3, 17])
def test_a_split_that_leaves_nothing_is_refused(folder: Path, map_until: int) -> None:
    with pytest.raises(InputError, match=f"up to {map_until} for the map and"):
        folder_sample(folder, map_until)


def test_redkitchen_is_split_at_600(data_dir: Path) -> None:
    sample = folder_sample(data_dir / "redkitchen", None)
    assert (sample.map_numbers[-1], sample.query_numbers[0]) == (598, 600)
    assert (len(sample.map_numbers), len(sample.query_numbers)) == (300, 100)
