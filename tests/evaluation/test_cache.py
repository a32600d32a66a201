"""Files of registrations: what is written is read back, and anything else is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.cache import (
    CacheInfo,
    read_info,
    read_registration,
    registration_files,
    registration_path,
    write_info,
    write_registration,
)
from diff2i2p_core.evaluation.registration import Registration

Made = Callable[..., Registration]


def test_a_registration_comes_back_as_it_was(made: Made, tmp_path: Path) -> None:
    one_match = replace(made(inliers=1, outliers=0), jpeg=np.arange(9, dtype=np.uint8))
    for registration in (made(), replace(one_match, seconds=0.25, peak_mib=300.5)):
        path = registration_path(tmp_path, registration.name)
        write_registration(registration, path)
        back = read_registration(path)
        for field in fields(Registration):
            before, after = getattr(registration, field.name), getattr(back, field.name)
            if isinstance(before, np.ndarray):
                assert before.dtype == after.dtype and np.array_equal(before, after, equal_nan=True)
            else:
                assert before == after
    assert registration_files(tmp_path) == [tmp_path / "room" / "1_2.npz"]


def test_a_released_file_with_one_match(golden_dir: Path, tmp_path: Path) -> None:
    """The released code stores arrays of one element as scalars."""
    source = registration_files(golden_dir / "eval_cache")[0]
    with np.load(source) as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("img_corr_points", "pcd_corr_points", "img_corr_pixels"):
        arrays[name] = arrays[name][:1]
    arrays["corr_scores"] = arrays["corr_scores"][0]
    for name in ("img_node_corr_indices", "pcd_node_corr_indices"):
        arrays[name] = arrays[name][0]
    arrays["pcd_points"][7] = arrays["pcd_corr_points"][0]
    path = tmp_path / "scene" / "1_2.npz"
    path.parent.mkdir()
    np.savez(path, **arrays)
    registration = read_registration(path)
    assert registration.name == "scene/1_2"
    assert registration.scores.shape == registration.image_nodes.shape == (1,)
    assert np.array_equal(registration.pixels[0], arrays["img_corr_pixels"][0, ::-1])
    assert np.array_equal(registration.point_indices, [7])
    assert len(registration.plain_cloud) == len(arrays["pcd_points"]) - 1
    assert np.array_equal(registration.tuned_cloud, arrays["pcd_points"])


def test_files_that_are_being_written_do_not_count(made: Made, tmp_path: Path) -> None:
    write_registration(made(), registration_path(tmp_path, "room/1_2"))
    (tmp_path / "room" / ".1_3.77.part.npz").write_bytes(b"PK")
    assert len(registration_files(tmp_path)) == 1


def test_broken_and_foreign_files_are_named(made: Made, tmp_path: Path) -> None:
    path = registration_path(tmp_path, "room/1_2")
    write_registration(made(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    foreign = tmp_path / "room" / "foreign.npz"
    np.savez(foreign, x=np.zeros(3))
    dangerous = tmp_path / "room" / "objects.npz"
    np.savez(dangerous, format=np.array([{}], object))
    unequal = tmp_path / "room" / "unequal.npz"
    write_registration(replace(made(), scores=np.zeros(3, np.float32)), unequal)
    for bad in (path, unequal, foreign, dangerous, tmp_path / "room" / "none.npz"):
        with pytest.raises(InputError, match=f"^{bad}: not a registration") as caught:
            read_registration(bad)
        assert "\n" not in str(caught.value)


def test_a_folder_without_registrations(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        registration_files(tmp_path / "none")
    with pytest.raises(InputError, match="holds no"):
        registration_files(tmp_path)


def test_cache_info(tmp_path: Path) -> None:
    assert read_info(tmp_path) is None
    info = CacheInfo(weights="w", weights_id="00", model="lite", benchmark="7scenes", subset="test", pairs=3)
    write_info(tmp_path, info)
    assert read_info(tmp_path) == info
    (tmp_path / "cache.json").write_text("{}")
    with pytest.raises(InputError, match=r"cache\.json"):
        read_info(tmp_path)
