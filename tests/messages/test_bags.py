"""Bags as robots record them: calibrations that change, faulty transforms and stamps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import (
    START,
    Sent,
    camera_info,
    tf,
    transform,
    write_bag,
)
from replay_room import CAMERA, KnowingLocalizer, each_alone, messages, stamp

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_bag import Replay, check_frames, localize_bag
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_index import _ascending

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
    assert note.startswith("tf: ignored 1 times: ") and "wheel" in note


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
