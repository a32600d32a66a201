"""Preparing sets: what is written, splits, resuming, broken input, and a check that finds faults."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_layouts import CAMERA, hall, recording, write_posed_folder
from scipy.spatial import cKDTree

from diff2i2p_core.datasets import fuse
from diff2i2p_core.datasets import prepare as module
from diff2i2p_core.datasets.check import check_set
from diff2i2p_core.datasets.dataset_file import DatasetFile, write_checksums
from diff2i2p_core.datasets.prepare import prepare
from diff2i2p_core.datasets.recording import SUBSETS
from diff2i2p_core.datasets.recording_frames import FolderRecording, folders
from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.datasets.windows import cut_windows
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.models.config import lite_config
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs, BenchmarkSettings, read_cloud, read_frame
from diff2i2p_core.pairs.metadata import read_metadata

SETTINGS = PreparationSettings(window=5, voxel=0.05, gap=5)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posed_folder(tmp_path_factory.mktemp("raw") / "hall", recording(60))


def run(source: Path, out: Path, settings: PreparationSettings = SETTINGS, **options: Any) -> DatasetFile:
    return prepare("frames", lambda work: folders(source), out, settings, **options)


@pytest.fixture(scope="module")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "set"
    run(source, out)
    return out


def test_clouds_lie_on_what_the_images_show(prepared: Path) -> None:
    """The stored transform takes the cloud onto the exact surfaces of the image's view."""
    entries = read_metadata(prepared, "7scenes", "train")
    assert len(entries) > 10
    for entry in entries[::5]:
        image, depth, camera = read_frame(prepared, entry)
        assert (camera, image.shape) == (CAMERA, (120, 160, 3))
        cloud = transform_points(entry.camera_from_cloud, read_cloud(prepared, entry))
        distance, _ = cKDTree(cloud).query(back_project(depth, camera)[depth > 0])
        assert np.median(distance) < 0.03
        assert abs((distance < 1.5 * SETTINGS.voxel).mean() - entry.overlap) < 0.02
        assert entry.overlap >= SETTINGS.min_overlap


def test_a_cloud_is_in_its_first_cameras_frame_and_the_image_is_the_middle_frame(prepared: Path) -> None:
    entry = read_metadata(prepared, "7scenes", "train")[0]
    poses = {frame.number: frame.world_from_camera for frame in recording(60)}
    image, cloud = int(entry.image_id.split("-")[1]), int(entry.cloud_id.split("-")[1])
    assert (image % 5, cloud % 5) == (2, 0)
    expected = np.linalg.inv(poses[image]) @ poses[cloud]
    np.testing.assert_allclose(entry.camera_from_cloud, expected, atol=1e-8)
    np.testing.assert_array_equal(read_frame(prepared, entry)[0], recording(60)[image].image)


def test_subsets_are_apart_in_time(prepared: Path) -> None:
    frames = {}
    for subset in SUBSETS:
        entries = read_metadata(prepared, "7scenes", subset)
        clouds = {int(entry.cloud_id.split("-")[1]) for entry in entries}
        images = {int(entry.image_id.split("-")[1]) for entry in entries}
        frames[subset] = {n + k for n in clouds for k in range(5)} | images
    assert max(frames["train"]) + 5 < min(frames["val"])
    assert max(frames["val"]) + 5 < min(frames["test"])


def test_no_image_is_paired_with_the_cloud_of_its_own_frames(prepared: Path) -> None:
    for entry in read_metadata(prepared, "7scenes", "train"):
        image, cloud = int(entry.image_id.split("-")[1]), int(entry.cloud_id.split("-")[1])
        assert not cloud <= image < cloud + 5


def test_the_benchmarks_reader_takes_the_set(prepared: Path) -> None:
    config = lite_config("geometry")
    pairs = BenchmarkPairs(BenchmarkSettings(root=prepared), config, "test")
    pair = pairs[0]
    assert pair.targets.overlap > 0.4


def test_dataset_json_counts(prepared: Path) -> None:
    content = json.loads((prepared / "dataset.json").read_text())
    train = read_metadata(prepared, "7scenes", "train")
    assert content["subsets"]["train"]["pairs"] == len(train)
    assert content["scenes"]["hall"]["frames"] == 60
    assert content["scenes"]["hall"]["train_pairs"] == len(train)
    assert content["source"]["settings"]["window"] == 5
    assert not (prepared / "unfinished.json").exists()


def test_two_processes_write_the_same_files(source: Path, prepared: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "set", processes=2)
    assert (tmp_path / "set/checksums.sha256").read_text() == (prepared / "checksums.sha256").read_text()


def test_an_interrupted_run_resumes(
    source: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    done: list[Any] = []
    original = fuse.write_window

    def breaks(*arguments: Any) -> int:
        if len(done) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(module, "write_window", breaks)
    with pytest.raises(InputError, match=r"set: the disk is full; free some space"):
        run(source, out)
    assert not (out / "dataset.json").exists() and not (out / "metadata").exists()
    with pytest.raises(InputError, match="is unfinished; run the same `prepare` again"):
        check_set(out)
    with pytest.raises(InputError, match="started from other data or with other settings"):
        run(source, out, SETTINGS.model_copy(update={"window": 6}))
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    assert len(kept) == 4
    monkeypatch.undo()
    # Settings that do not affect the clouds may change; files that only the first choice needed are removed.
    with pytest.raises(InputError, match="overlap by 1; lower the minimum overlap"):
        run(source, out, SETTINGS.model_copy(update={"min_overlap": 1.0, "gap": 0}))
    run(source, out)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert check_set(out).problems == []
    assert len(list(out.rglob("*.npy"))) == len(list(prepared.rglob("*.npy")))
    assert (out / "checksums.sha256").read_text() == (prepared / "checksums.sha256").read_text()


def test_a_disk_that_fills_up_while_writing_leaves_no_half_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, array: np.ndarray) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InputError, match="the disk is full"):
        run(source, tmp_path / "set")
    assert not [*tmp_path.rglob("*.npy"), *tmp_path.rglob("*.part*")]


def test_a_finished_set_is_left_as_it_is(source: Path, prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    run(source, prepared)
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before
    with pytest.raises(InputError, match="holds another set, or one with other settings"):
        run(source, prepared, SETTINGS.model_copy(update={"voxel": 0.06}))


def test_other_data_is_not_written_over(source: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="holds data that was not made here"):
        run(source, tmp_path)


def test_whole_scenes_as_subsets(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).symlink_to(source)
    recordings = [FolderRecording(tmp_path / name, name) for name in ("a", "b", "c")]
    settings = SETTINGS.model_copy(update={"val": ("b",), "test": ("c/seq-01",)})
    windows = cut_windows(recordings, settings)
    assert {(w.recording, w.subset) for w in windows} == {(0, "train"), (1, "val"), (2, "test")}
    assert len(windows) == 36
    with pytest.raises(InputError, match=r"val 'd': no such scene; use one of a, b, c"):
        cut_windows(recordings, SETTINGS.model_copy(update={"val": ("d",)}))


def test_too_short_a_recording(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the longest has 60 frames, 2 clouds of 25; record more"):
        run(source, tmp_path / "set", PreparationSettings())
    assert not (tmp_path / "set").exists()


def test_a_scene_without_overlap(tmp_path: Path) -> None:
    """Each window sees another place: poses jump by 20 m."""
    frames = list(recording(40))
    for index, frame in enumerate(frames):
        pose = frame.world_from_camera.copy()
        pose[0, 3] += 20 * (index // 5)
        frames[index] = type(frame)(frame.number, frame.image, frame.depth, pose)
    source = write_posed_folder(tmp_path / "raw" / "jumps", tuple(frames))
    with pytest.raises(InputError, match=r"scene jumps: no image and cloud of different windows"):
        run(source, tmp_path / "set")
    assert not (tmp_path / "set/dataset.json").exists()


def test_missing_files_of_a_folder(source: Path, tmp_path: Path) -> None:
    raw = tmp_path / "hall"
    shutil.copytree(source, raw)
    (raw / "frame-000013.depth.png").unlink()
    with pytest.raises(InputError, match=r"frame-000013\.depth\.png: cannot be read \(No such file"):
        run(raw, tmp_path / "set")
    with pytest.raises(InputError, match="give a posed RGB-D folder, or a folder of them"):
        run(tmp_path / "nothing", tmp_path / "set2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no frame-NNNNNN\.pose\.txt"):
        run(tmp_path / "empty", tmp_path / "set2")


def test_check_takes_a_sound_set(prepared: Path) -> None:
    found = check_set(prepared)
    assert found.problems == []
    assert len(found.overlaps) > 10


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "copy")
    return tmp_path / "copy"


def only_problem(root: Path) -> str:
    (problem,) = check_set(root).problems
    return problem


def test_check_finds_a_changed_and_a_missing_file(copy: Path) -> None:
    image = sorted(copy.glob("data/hall/seq-01/color_*.png"))[0]
    image.write_bytes(sorted(copy.glob("data/hall/seq-01/color_*.png"))[1].read_bytes())
    assert only_problem(copy) == f"{image}: changed since the set was made"
    image.unlink()
    problems = check_set(copy).problems
    assert problems == [
        f"{image}: cannot be read (No such file or directory); give an image file",
        f"{image}: missing",
    ]


def rewrite(root: Path, subset: str, change: Any) -> None:
    """Change the first record of a subset, and the checksums with it."""
    path = root / "metadata" / f"{subset}-full.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    change(records)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    content = json.loads((root / "dataset.json").read_text())
    files = [p for kind in ("data", "metadata") for p in (root / kind).rglob("*") if p.is_file()]
    content["checksums"] = write_checksums(root, files)
    (root / "dataset.json").write_text(json.dumps(content))


def test_check_finds_wrong_overlap_pose_and_count(copy: Path) -> None:
    rewrite(copy, "val", lambda records: records[0].update(overlap=0.51))
    assert "overlap is stored as 0.510, but is" in only_problem(copy)
    rewrite(copy, "val", lambda records: records[0]["cloud_to_image"][0].__setitem__(3, 3.0))
    assert "overlap is stored as" in only_problem(copy)
    rewrite(copy, "val", lambda records: records[0]["cloud_to_image"][0].__setitem__(0, 3.0))
    assert "cloud_to_image is not a finite rigid 4x4 transform" in check_set(copy).problems[0]


def test_check_finds_lost_pairs(copy: Path) -> None:
    rewrite(copy, "train", lambda records: records.pop())
    assert "pairs, but dataset.json says" in only_problem(copy)


def test_check_finds_a_file_in_two_subsets(copy: Path) -> None:
    first = json.loads((copy / "metadata/test-full.jsonl").read_text().splitlines()[0])
    rewrite(copy, "train", lambda records: records.__setitem__(0, first))
    assert "in train and in test (2 such files)" in only_problem(copy)


def test_check_of_a_published_set(data_dir: Path) -> None:
    """The mini benchmark has the same pairs in all three subsets."""
    found = check_set(data_dir / "7scenes_mini", sample=5)
    assert found.dataset is None and len(found.overlaps) > 10
    assert len(found.problems) == 2 and all("30 such files" in problem for problem in found.problems)
    assert found.published_counts()[2] == "test: 21 pairs, the papers have 2304"


def test_the_synthetic_recording_is_what_a_posed_folder_reads(source: Path) -> None:
    frames = PosedFrames(source)
    _, depth = hall().render(CAMERA, frames[7].world_from_camera)
    np.testing.assert_allclose(frames[7].depth, depth, atol=6e-4)
