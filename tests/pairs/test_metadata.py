"""The benchmarks' lists of pairs: read without running anything, checked, converted."""

from __future__ import annotations

import builtins
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.safe_pickle import load_records
from diff2i2p_core.pairs.metadata import check_files, convert_metadata, file_id, read_metadata

PROTOCOLS = range(2, 6)


def record(**changes: Any) -> dict[str, Any]:
    return {
        "scene_name": "chess",
        "image_file": "chess/seq-11/color_019.png",
        "depth_file": "chess/seq-11/depth_019.png",
        "cloud_file": "chess/seq-11/cloud_bin_7.npy",
        "overlap": np.float64(0.625),
        "cloud_to_image": np.eye(4),
        **changes,
    }


def write(root: Path, content: object, name: str = "train-full.pkl", protocol: int = 4) -> Path:
    path = root / "metadata" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("numpy_1", [False, True])
def test_arrays_and_scalars_of_every_protocol(tmp_path: Path, protocol: int, numpy_1: bool) -> None:
    transform = np.arange(16.0).reshape(4, 4)
    values = {
        "array": transform,
        "fortran": np.asfortranarray(transform),
        "small": transform.astype(np.float32),
        "big": transform.astype(">f8"),
        "number": np.float32(0.5),
        "text": np.str_("kitchen"),
        "plain": ["a", 1, 2.5, None, True],
    }
    content = pickle.dumps([values], protocol)
    if numpy_1:  # the module's name before NumPy 2, with the lengths that precede it
        assert b"numpy._core" in content
        for name in (b"numpy._core.multiarray", b"numpy._core.numeric"):
            old = name.replace(b"_core", b"core")
            content = content.replace(bytes([len(name)]) + name, bytes([len(old)]) + old).replace(name, old)
        if protocol >= 4:  # the frame's length counts its bytes
            content = content[:3] + (len(content) - 11).to_bytes(8, "little") + content[11:]
    (found,) = load_records(write(tmp_path, content))
    for key in ("array", "fortran", "small", "big"):
        np.testing.assert_array_equal(found[key], values[key])
        assert found[key].dtype == values[key].dtype
    assert found["number"] == 0.5
    assert found["text"] == "kitchen"
    assert found["plain"] == values["plain"]


@pytest.mark.parametrize("protocol", [0, 1, *PROTOCOLS])
@pytest.mark.parametrize(
    ("function", "argument"), [(os.system, "touch {}"), (builtins.eval, "open({!r}, 'w')"), (np.load, "{}")]
)
def test_calls_are_refused_before_they_run(
    tmp_path: Path, protocol: int, function: Any, argument: str
) -> None:
    mark = tmp_path / "mark"
    hostile = [record(overlap=Call(function, argument.format(str(mark))))]
    path = write(tmp_path, hostile, protocol=protocol)
    with pytest.raises(InputError, match=r"train-full.pkl: names '\w+\.\w+', .*nothing was run") as caught:
        load_records(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        [record(cloud_to_image=np.array([[1, "a"], [None, {}]], dtype=object))],
        [record(cloud_to_image=np.zeros(2, dtype=[("a", float)]))],
        [record(overlap=np.datetime64("2026-01-01"))],
        [record(overlap=complex(1, 2))],
        [record(scene_name=Path("chess"))],
        pickle.dumps([record()], 4)[:-40],
        pickle.dumps([record()], 2)[:60],
        b"",
        b"[1, 2]",
        b"\x80\x04c__main__\nnothing\n.",
        b"\x80\x04cnumpy\ndtype\n}\x8c\x01xK\x01sb.",  # a state for the class itself
        b"\x80\x04]r\xff\xff\xff\xff.",  # a memo of 2^32 places
        b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.",  # a bytearray of 64 GB
        {"scene_name": "chess"},
        "chess",
        [1, 2],
        np.eye(4),
    ],
)
def test_anything_else_is_one_clear_line(tmp_path: Path, content: object) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=r"train-full\.pkl: ") as caught:
        read_metadata(tmp_path, "7scenes", "train")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overlap": 1.5}, r"pair 1: overlap 1.5"),
        ({"overlap": float("nan")}, r"pair 1: overlap nan"),
        ({"overlap": "0.5"}, r"pair 1: overlap 0.5"),
        ({"cloud_to_image": np.eye(3)}, r"pair 1: cloud_to_image"),
        ({"cloud_to_image": 2 * np.eye(4)}, r"pair 1: cloud_to_image"),
        ({"cloud_to_image": np.full((4, 4), np.nan)}, r"pair 1: cloud_to_image"),
        ({"cloud_to_image": "eye"}, r"pair 1: cloud_to_image"),
        ({"image_file": "../../secret.png"}, r"pair 1: image_file .* leaves the data folder"),
        ({"depth_file": "/etc/passwd"}, r"pair 1: depth_file .* leaves the data folder"),
        ({"cloud_file": 7}, r"pair 1: cloud_file"),
        ({"image_file": "chess/color_019.png"}, r"pair 1: image_file .*check `layout`"),
        ({"scene_name": "../chess"}, r"pair 1: scene_name"),
    ],
)
def test_broken_entries(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, [record(), record(**changes)])
    with pytest.raises(InputError, match=message):
        read_metadata(tmp_path, "7scenes", "train")


def test_missing_keys_files_and_subsets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_metadata(tmp_path, "7scenes", "train")
    incomplete = record()
    del incomplete["overlap"], incomplete["depth_file"]
    write(tmp_path, [incomplete])
    with pytest.raises(InputError, match="pair 0 lacks depth_file, overlap"):
        read_metadata(tmp_path, "7scenes", "train")
    with pytest.raises(
        InputError, match=r"no test-full.pkl or .jsonl for subset 'test'; the folder has train-full.pkl"
    ):
        read_metadata(tmp_path, "7scenes", "test")
    write(tmp_path, [record()])
    with pytest.raises(InputError, match=r"cloud_bin_7.npy: no such file \(3 of 3 files"):
        check_files(tmp_path, read_metadata(tmp_path, "7scenes", "train"))


def test_json_lines_say_the_same_and_are_preferred(tmp_path: Path) -> None:
    turned = np.array([[0, -1, 0, 0.1], [1, 0, 0, 1 / 3], [0, 0, 1, 2], [0, 0, 0, 1]])
    pickled = write(tmp_path, [record(), record(cloud_to_image=turned, overlap=1 / 3)])
    before = read_metadata(tmp_path, "7scenes", "train")
    lines = convert_metadata(pickled)
    assert lines == pickled.with_suffix(".jsonl")
    pickled.write_bytes(b"not read any more")
    after = read_metadata(tmp_path, "7scenes", "train")
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a.camera_from_cloud, b.camera_from_cloud)
        assert (a.name, a.overlap, a.image_file) == (b.name, b.overlap, b.image_file)
    lines.write_text(lines.read_text() + "{broken\n")
    with pytest.raises(InputError, match=r"train-full.jsonl: line 3 cannot be read"):
        read_metadata(tmp_path, "7scenes", "train")


def test_ids(tmp_path: Path) -> None:
    assert file_id("chess/seq-11/color_019.png", "7scenes") == "11-019"
    assert file_id("redkitchen/seq-01/cloud_bin_7.info.npy", "7scenes") == "01-7"
    assert file_id("rgbd-scenes-v2-scene_09/color_00019.png", "rgbd_scenes_v2") == "00019"
    write(tmp_path, [record()])
    (entry,) = read_metadata(tmp_path, "7scenes", "train")
    assert entry.name == "chess/11-019_11-7"
    write(
        tmp_path,
        [record(image_file="scene_01/color_00019.png", cloud_file="scene_01/cloud_3.npy")],
        "val.pkl",
    )
    (entry,) = read_metadata(tmp_path, "rgbd_scenes_v2", "val")
    assert entry.name == "chess/00019_3"
    with pytest.raises(InputError, match="check `layout`"):
        file_id("scene_01/color.png", "rgbd_scenes_v2")
