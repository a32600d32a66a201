"""A localizer of posed frames: which of them make the map, and where the maps of other folders are put."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.localization.localizer import BESIDE, Localizer
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four frames each of two rooms."""
    folders = [tmp_path_factory.mktemp("frames") for _ in range(2)]
    for folder, seed in zip(folders, (3, 4), strict=True):
        room = make_room(seed)
        write_frames(folder, room, Camera(160, 120, 131, 131, 79.5, 59.5), camera_path(room, 4, 1))
    return folders


def test_all_frames_give_the_map_that_a_build_of_the_folder_gives(
    folders: list[Path], tiny_weights: Path, tmp_path: Path
) -> None:
    built = build_map(folders[0], tmp_path / "room.map", weights=tiny_weights, matcher="network")
    whole = Localizer.from_frames(folders[0], weights=tiny_weights, matcher="network").map
    part = Localizer.from_frames(folders[0], [0, 1], tiny_weights, matcher="network").map
    in_order, built_in_order = (np.unique(found.cloud.points, axis=0) for found in (whole, built))
    np.testing.assert_array_equal(in_order, built_in_order)
    np.testing.assert_array_equal(whole.views, built.views)
    assert 0 < len(part.cloud) < len(whole.cloud)
    assert whole.info.source == str(folders[0]) and whole.info.weights_id == built.info.weights_id


def test_maps_of_other_folders_are_put_beside(folders: list[Path], tiny_weights: Path) -> None:
    here, there = (
        Localizer.from_frames(folder, weights=tiny_weights, matcher="network").map for folder in folders
    )
    both = Localizer.from_frames(folders[0], weights=tiny_weights, matcher="network", beside=folders[1:]).map
    assert len(both.submaps) == len(here.submaps) + len(there.submaps)
    assert both.info.source == f"{folders[0]} + {folders[1]} (10 m apart along x)"
    own = len(here.cloud)
    np.testing.assert_array_equal(both.cloud.points[:own], here.cloud.points)
    gap = both.cloud.points[own:, 0].min() - here.cloud.points[:, 0].max()
    assert gap == pytest.approx(BESIDE, abs=1e-4)


def test_what_has_no_frames_is_refused(folders: list[Path], tiny_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no frame 000009"):
        Localizer.from_frames(folders[0], [0, 9], tiny_weights, matcher="network")
    with pytest.raises(InputError, match=r"nothing: no such folder"):
        Localizer.from_frames(
            folders[0], weights=tiny_weights, matcher="network", beside=[tmp_path / "nothing"]
        )
