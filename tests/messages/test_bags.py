"""Bags as robots record them: changing calibrations, faulty transforms and stamps, files without an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import START, Sent, camera_info, tf, transform, write_bag
from replay_room import CAMERA, KnowingLocalizer, each_alone, messages, stamp

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_bag import Replay, check_frames, localize_bag
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_index import _ascending
from diff2i2p_core.messages.bag_reader import Bag

INFO, IMAGE = "/camera/color/camera_info", "/camera/color/image_raw"


def info(at: int, camera: Camera = CAMERA, stamped: int | None = None, **fields: Any) -> Sent:
    message = camera_info(at if stamped is None else stamped, "camera", camera)
    for name, value in fields.items():
        setattr(message, name, value)
    return Sent(INFO, at, message)


def without(topic: str, count: int = 6) -> list[Sent]:
    return [sent for sent in messages(count) if sent.topic != topic]


def replayed(tmp_path: Path, sent: list[Sent]) -> tuple[Replay, list[Camera], list[str]]:
    """The results, the cameras of the images that were localized, and what is said about the bag."""
    camera = BagCamera(write_bag(tmp_path / "bag", sent))
    localizer = KnowingLocalizer()
    done = localize_bag(camera, each_alone(localizer))
    return done, [asked.camera for asked in localizer.asked], camera.notes


ZOOMED = [Camera(64, 48, 60 + 5 * n, 60 + 5 * n, 31.5, 23.5) for n in range(6)]
ZERO: dict[str, Any] = {"k": np.zeros(9), "p": np.zeros(12)}


@pytest.mark.parametrize("late", [-1_000_000, 1_000_000])
def test_a_zoom_changes_the_camera_of_each_image(tmp_path: Path, late: int) -> None:
    """Also if the calibration, which has the stamp of its image, is recorded after it."""
    sent = [info(stamp(n) + late, ZOOMED[n], stamped=stamp(n)) for n in range(6)]
    assert replayed(tmp_path, [*without(INFO), *sent])[1] == ZOOMED


def test_the_last_calibration_before_an_image_is_in_force(tmp_path: Path) -> None:
    sent = [info(START - 10, ZOOMED[1]), info(START - 5, ZOOMED[2]), info(stamp(3) - 5, ZOOMED[3])]
    assert replayed(tmp_path, [*without(INFO), *sent])[1] == [ZOOMED[2]] * 3 + [ZOOMED[3]] * 3


def test_a_calibration_that_comes_late_holds_for_the_images_before(tmp_path: Path) -> None:
    assert replayed(tmp_path, [*without(INFO), info(stamp(2) + 5)])[1] == [CAMERA] * 6


def test_images_of_an_uncalibrated_camera_are_not_used(tmp_path: Path) -> None:
    sent = [info(START - 9, **ZERO), info(stamp(2) - 5), info(stamp(4) - 5, **ZERO)]
    done, cameras, _ = replayed(tmp_path, [*without(INFO), *sent])
    assert len(cameras) == 2
    reasons = [result.reason for result in done.results]
    assert reasons[2:4] == ["", ""] and all("focal lengths" in reasons[n] for n in (0, 1, 4, 5))
    assert "unusable image (" in reasons[0] and f"bag: {INFO}: camera: focal" in reasons[0]
    with pytest.raises(InputError, match=r"focal lengths 0.0, 0.0 must be positive"):
        replayed(tmp_path / "zero", [*without(INFO), info(START - 9, **ZERO)])


def test_one_image_of_another_size_does_not_refuse_the_bag(tmp_path: Path) -> None:
    sent = messages(6)
    (first,) = (s for s in sent if s.topic == IMAGE and s.stamp == stamp(0))
    first.content.height, first.content.data = 40, first.content.data[: 40 * first.content.step]
    done, cameras, _ = replayed(tmp_path, sent)
    assert len(cameras) == 5 and "64x40 pixels" in done.results[0].reason


def test_a_calibration_without_a_size(tmp_path: Path) -> None:
    sent = [*without(INFO), info(START - 9, width=0, height=0)]
    assert replayed(tmp_path, sent)[1] == [CAMERA] * 6


def test_a_doubtful_calibration_is_said(tmp_path: Path) -> None:
    doubtful = replace(CAMERA, cx=50.0)
    notes = replayed(tmp_path, [*without(INFO), info(START - 9, doubtful)])[2]
    assert len(notes) == 1 and f"{INFO}: the calibration may be of another image size" in notes[0]


def again(sent: list[Sent], change: Callable[[list[Any]], None]) -> list[Sent]:
    change([s.content for s in sent if s.topic == IMAGE])
    return sent


def set_stamp(message: Any, nanoseconds: int) -> None:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({3: stamp(2)}, [0, 1, 2, 4, 5]),
        ({3: stamp(1) + 5}, [0, 1, 2, 4, 5]),
        ({0: stamp(0) + 57 * 10**15}, [1, 2, 3, 4, 5]),
        ({4: 0}, [0, 1, 2, 3, 5]),
        ({n: stamp(n) - 10**12 for n in (4, 5)}, [0, 1, 2, 3]),
    ],
)
def test_images_with_unusable_stamps_are_left_out(
    tmp_path: Path, changes: dict[int, int], left: list[int]
) -> None:
    sent = messages(6)
    images = [s.content for s in sent if s.topic == IMAGE]
    for number, at in changes.items():
        set_stamp(images[number], at)
    camera = BagCamera(write_bag(tmp_path / "bag", sent))
    localizer = KnowingLocalizer()
    done = localize_bag(camera, each_alone(localizer))
    assert [asked.number for asked in localizer.asked] == left
    assert [result.number for result in done.results] == list(range(len(left)))
    (note,) = camera.notes
    assert f"{IMAGE}: {6 - len(left)} of 6 messages left out, because their stamps are 0, there twice" in note


def test_the_longest_ascending_subsequence() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        stamps = rng.integers(0, 12, 9).tolist()
        kept = _ascending(stamps)
        values = [stamps[position] for position in kept]
        assert values == sorted(set(values)) and kept == sorted(kept) and 0 not in values
        best = [1 if value else 0 for value in stamps]
        for end in range(9):
            for before in range(end):
                if stamps[end] and 0 < stamps[before] < stamps[end]:
                    best[end] = max(best[end], best[before] + 1)
        assert len(kept) == max(best)


def faulty(kind: str, parent: str, child: str) -> list[Sent]:
    good, bad = transform(stamp(1), parent, child, np.eye(4)), transform(stamp(2), parent, child, np.eye(4))
    if kind == "NaN":
        bad.transform.translation.x = float("nan")
    elif kind == "zero quaternion":
        bad.transform.rotation.w = 0.0
    elif kind == "two parents":
        bad.header.frame_id = "elsewhere"
    elif kind == "back in time":
        set_stamp(bad, stamp(1) - 5 * 10**9)
    elif kind == "its own parent":
        bad.header.frame_id = child
    return [Sent("/tf", stamp(1), tf(good)), Sent("/tf", stamp(2), tf(bad))]


KINDS = ("NaN", "zero quaternion", "two parents", "back in time", "its own parent")


@pytest.mark.parametrize("kind", KINDS)
def test_a_faulty_transform_of_another_frame_is_ignored_and_counted(tmp_path: Path, kind: str) -> None:
    sent = [*messages(6), *faulty(kind, "base_link", "wheel")]
    camera = BagCamera(write_bag(tmp_path / "bag", sent))
    check_frames(camera, "odom", "base_link")
    assert len(localize_bag(camera, each_alone(KnowingLocalizer()), odom="odom").results) == 6
    (note,) = camera.notes
    assert note.startswith("tf: 1 transforms ignored: ") and "wheel" in note


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("two parents", "base_link has two parents, odom and elsewhere"),
        ("back in time", "the stamps of odom -> base_link go back by 5.1 s"),
    ],
)
def test_a_faulty_transform_that_is_needed_is_named(tmp_path: Path, kind: str, words: str) -> None:
    sent = [*messages(6), *faulty(kind, "odom", "base_link")]
    camera = BagCamera(write_bag(tmp_path / "bag", sent))
    assert len(localize_bag(camera, each_alone(KnowingLocalizer())).results) == 6
    with pytest.raises(InputError, match=words):
        check_frames(camera, "odom", None)


def test_a_static_transform_that_is_needed_and_nan_is_named(tmp_path: Path) -> None:
    sent = without("/tf_static")
    bad = transform(0, "base_link", "camera", np.eye(4))
    bad.transform.rotation.x = float("nan")
    camera = BagCamera(write_bag(tmp_path / "bag", [*sent, Sent("/tf_static", START - 9, tf(bad))]))
    with pytest.raises(InputError, match="tf: base_link -> camera needs two frames, a finite position"):
        check_frames(camera, None, "base_link")


def files_of(bag: Path) -> list[Path]:
    return sorted(path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))


@pytest.mark.parametrize("mcap", [True, False])
def test_a_folder_without_metadata(tmp_path: Path, mcap: bool) -> None:
    """Also one of several files, which are read in the order of time."""
    bag = write_bag(tmp_path / "bag", messages(6), mcap=mcap)
    (bag / "metadata.yaml").unlink()
    assert len(BagCamera(bag).stamps) == 6
    later = write_bag(
        tmp_path / "later", [Sent(s.topic, s.stamp + 10**10, s.content) for s in shifted()], mcap=mcap
    )
    files_of(later)[0].rename(bag / f"a{files_of(later)[0].suffix}")
    assert BagCamera(bag).stamps == [stamp(n) for n in range(6)] + [stamp(n) + 10**10 for n in range(6)]


def shifted() -> list[Sent]:
    sent = messages(6)
    for content in (s.content for s in sent if hasattr(s.content, "header")):
        content.header.stamp.sec += 10
    return sent


def test_metadata_that_names_a_missing_file(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", messages(6))
    text = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace("bag.mcap", "bag_0.mcap"))
    camera = BagCamera(bag)
    assert len(camera.stamps) == 6
    assert "metadata.yaml does not fit (" in camera.notes[0]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("with_metadata", [True, False])
def test_an_mcap_cut_anywhere(tmp_path: Path, compressed: bool, with_metadata: bool) -> None:
    """What is whole is read, and the reader says so; never anything but an InputError."""
    bag = write_bag(tmp_path / "bag", large(), mcap=True, compressed=compressed)
    (file,) = files_of(bag)
    data = file.read_bytes()
    if not with_metadata:
        (bag / "metadata.yaml").unlink()
    counts = []
    for size in np.linspace(0, len(data) - 1, 40).astype(int):
        file.write_bytes(data[:size])
        try:
            camera = BagCamera(bag)
        except InputError:
            counts.append(0)
            continue
        assert any("bag.mcap has no end; it is read up to its last whole message" in n for n in camera.notes)
        images = list(camera.images())
        assert [image.stamp for image in images] == camera.stamps == [stamp(n) for n in range(len(images))]
        assert all(len(camera.decode(image)[0]) for image in images)
        counts.append(len(images))
    assert counts == sorted(counts) and counts[-1] == 6 and len(set(counts)) >= (3 if compressed else 6)


def large() -> list[Sent]:
    """Messages of which few fit into a chunk."""
    sent = messages(6)
    for content in (s.content for s in sent if s.topic == IMAGE):
        content.step += 10_000  # padding
        rows = np.random.default_rng(0).integers(0, 256, (48, content.step), np.uint8)
        rows[:, : 64 * 3] = content.data.reshape(48, -1)
        content.data = rows.ravel()
    return sent


def test_zeros_behind_the_cut(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", large())
    (file,) = files_of(bag)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(5000))
    assert len(list(BagCamera(bag).images())) in (2, 3)


def test_a_whole_bag_says_nothing(tmp_path: Path) -> None:
    with Bag(write_bag(tmp_path / "bag", messages(2))) as bag:
        assert bag.notes == [] and bag.remark == ""
    assert replayed(tmp_path / "more", messages(2))[2] == []
