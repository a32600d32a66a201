"""7-Scenes in every state from nested zips to completely unpacked, and its faults."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from raw_layouts import png, pose_text, recording, write_seven_scenes, zip_folder
from scipy.spatial import cKDTree
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.datasets.file_tree import FileTree
from diff2i2p_core.datasets.fuse import Names, write_window
from diff2i2p_core.datasets.prepare import prepare
from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.datasets.seven_scenes import CAMERA, SevenScenesRecording, seven_scenes
from diff2i2p_core.datasets.windows import Window
from diff2i2p_core.errors import InputError
from diff2i2p_core.pairs.metadata import read_metadata

SETTINGS = PreparationSettings(window=2, gap=2, voxel=0.05)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sequences = {
        "seq-01": recording(6, -0.4, CAMERA),
        "seq-03": recording(12, 0.0, CAMERA),
        "seq-02": recording(4, 0.2, CAMERA),
    }
    folder = write_seven_scenes(tmp_path_factory.mktemp("raw"), "chess", sequences)
    return folder


def as_shipped(scene: Path, target: Path) -> Path:
    """chess.zip with chess/seq-NN.zip inside, each with seq-NN/frame-..."""
    inner = target / "inner"
    inner.mkdir(parents=True)
    for name in ("TrainSplit.txt", "TestSplit.txt"):
        shutil.copy(scene / name, inner)
    for folder in scene.glob("seq-*"):
        zip_folder(folder, inner / f"{folder.name}.zip", folder.name)
    return zip_folder(inner, target / "chess.zip", "chess")


@pytest.fixture(scope="module")
def reference(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("reference") / "set"
    prepare("7scenes", lambda work: seven_scenes(scene, work), out, SETTINGS)
    return (out / "checksums.sha256").read_text()


def test_the_official_split(scene: Path, tmp_path: Path) -> None:
    found = seven_scenes(scene, tmp_path)
    assert [(r.scene, r.sequence, r.subset) for r in found] == [
        ("chess", "seq-01", "train"),
        ("chess", "seq-02", "test"),
        ("chess", "seq-03", "train"),
    ]
    assert found[2].numbers == tuple(range(12))


def test_train_val_and_test_pairs(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    arguments = ["prepare", "7scenes", str(scene.parent), str(out), "--processes", "1"]
    arguments += ["--window", "2", "--gap", "2", "--voxel", "0.05"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    sequences = {
        subset: {entry.image_file.split("/")[1] for entry in read_metadata(out, "7scenes", subset)}
        for subset in ("train", "val", "test")
    }
    # seq-01 is too short to give val a part.
    assert sequences == {"train": {"seq-01", "seq-03"}, "val": {"seq-03"}, "test": {"seq-02"}}
    k = np.loadtxt(out / "data/chess/camera-intrinsics.txt")
    np.testing.assert_array_equal(k, [[585, 0, 320], [0, 585, 240], [0, 0, 1]])


@pytest.mark.parametrize("state", ["zip in zip", "folder of zips", "one zip", "sequences zipped"])
def test_zipped_data_gives_the_same_set(scene: Path, reference: str, tmp_path: Path, state: str) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    source = raw
    if state == "one zip":
        source = zip_folder(scene, raw / "chess.zip", "chess")
    elif state == "sequences zipped":
        as_shipped(scene, raw)
        (raw / "chess.zip").unlink()
        (raw / "inner").rename(raw / "chess")
    else:
        as_shipped(scene, raw)
        shutil.rmtree(raw / "inner")
        source = raw / "chess.zip" if state == "zip in zip" else raw
    out = tmp_path / "set"
    prepare("7scenes", lambda work: seven_scenes(source, work), out, SETTINGS)
    assert (out / "checksums.sha256").read_text() == reference
    assert not (out / "work").exists()


def failing(source: Path, tmp_path: Path) -> str:
    out = tmp_path / "set"
    with pytest.raises(InputError) as caught:
        prepare("7scenes", lambda work: seven_scenes(source, work), out, SETTINGS)
    assert not (out / "dataset.json").exists() and not (out / "metadata").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_half_a_zip(scene: Path, tmp_path: Path) -> None:
    whole = as_shipped(scene, tmp_path / "raw")
    half = tmp_path / "chess.zip"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "chess.zip: not a complete zip file" in failing(half, tmp_path)


def test_a_zip_whose_inside_is_broken(scene: Path, tmp_path: Path) -> None:
    """Bytes flipped in the middle of an image are found by the zip's own checksum."""
    path = zip_folder(scene, tmp_path / "chess.zip", "chess")
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("chess/seq-01/frame-000001.color.png").header_offset + 200
    content = bytearray(path.read_bytes())
    content[at : at + 50] = bytes(50)
    path.write_bytes(content)
    assert "frame-000001.color.png is broken" in failing(path, tmp_path)


def test_a_zip_with_paths_outside(scene: Path, tmp_path: Path) -> None:
    path = zip_folder(scene, tmp_path / "chess.zip", "chess")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside.txt", "x")
    assert "holds '../outside.txt', a path that leads outside" in failing(path, tmp_path)
    assert not (tmp_path.parent / "outside.txt").exists()


def test_missing_files(scene: Path, tmp_path: Path) -> None:
    copy = tmp_path / "chess"
    shutil.copytree(scene, copy)
    (copy / "seq-01/frame-000002.depth.png").unlink()
    assert "frame-000002.depth.png is missing; get seq-01 again" in failing(copy, tmp_path)
    shutil.rmtree(copy / "seq-01")
    assert "TrainSplit.txt names seq-01, which is missing" in failing(copy, tmp_path)
    (copy / "TrainSplit.txt").write_text("one, three")
    assert "TrainSplit.txt is not a list of lines `sequence1`" in failing(copy, tmp_path)
    (copy / "TrainSplit.txt").unlink()
    assert "holds no scene with TrainSplit.txt" in failing(copy, tmp_path)
    assert "no such file or folder" in failing(tmp_path / "nothing", tmp_path)


def test_broken_frames(scene: Path, tmp_path: Path) -> None:
    copy = tmp_path / "chess"
    shutil.copytree(scene, copy)
    pose = copy / "seq-03/frame-000000.pose.txt"
    pose.write_text(pose_text(np.full((4, 4), np.nan)))
    assert "frame-000000.pose.txt: not a finite rigid 4x4 transform" in failing(copy, tmp_path)
    shutil.copy(scene / "seq-03/frame-000000.pose.txt", pose)
    color = copy / "seq-03/frame-000001.color.png"
    color.write_bytes(b"not an image")
    assert "frame-000001.color.png: cannot be read as an image" in failing(copy, tmp_path)
    color.write_bytes(png(np.zeros((120, 160, 3), np.uint8)))
    small = "image of frame 1: 160x120 pixels, but the calibration is for 640x480"
    assert small in failing(copy, tmp_path)


def test_fusion_agrees_with_the_benchmarks_cloud_of_red_kitchen(data_dir: Path, tmp_path: Path) -> None:
    """Made by another program from the same frames."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(150, 200, 2):
        frame = data_dir / "redkitchen" / f"frame-{number:06d}"
        (raw / f"{frame.name}.color.png").symlink_to(f"{frame}.color.jpg")
        for part in ("depth.png", "pose.txt"):
            (raw / f"{frame.name}.{part}").symlink_to(f"{frame}.{part}")
    kitchen = SevenScenesRecording("redkitchen", "seq-01", "train", FileTree(raw), tuple(range(150, 200, 2)))
    window = Window(0, 0, 25, "train")
    names = Names.of(kitchen, window, "7scenes")
    assert names.cloud == "redkitchen/seq-01/cloud_000150.npy"
    write_window(kitchen, window, PreparationSettings(), names, tmp_path)
    ours = np.load(tmp_path / names.cloud)
    theirs = np.load(data_dir / "7scenes_mini/data" / names.cloud)
    assert ours.dtype == theirs.dtype and 0.8 < len(ours) / len(theirs) < 1.25
    to_ours, _ = cKDTree(ours).query(theirs)
    assert np.median(to_ours) < 0.006 and (to_ours < 0.0375).mean() > 0.95
    # Theirs leaves out surfaces that only a few frames see.
    to_theirs, _ = cKDTree(theirs).query(ours)
    assert np.median(to_theirs) < 0.006 and (to_theirs < 0.0375).mean() > 0.8
