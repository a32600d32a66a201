"""The worker: newest item of each slot, earlier slots first, survives its handlers."""

from __future__ import annotations

import threading
from typing import Any

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from diff2i2p.worker import Worker


def test_newest_wins_by_slot_and_earlier_slots_go_first() -> None:
    done: list[Any] = []
    entered, proceed, finished = threading.Event(), threading.Event(), threading.Event()

    def image(item: int) -> None:
        entered.set()
        assert proceed.wait(5)
        done.append(item)
        if item == 4:
            finished.set()

    worker = Worker({"map": done.append, "image": image}, lambda slot, error: None)
    worker.put("image", 1)
    assert entered.wait(5)
    assert [worker.put("image", item) for item in (2, 3, 4)] == [False, True, True]
    assert not worker.put("map", "m")
    proceed.set()
    assert finished.wait(5)
    worker.stop(5)
    assert done == [1, "m", 4]


def test_an_exception_is_reported_and_the_thread_lives_on() -> None:
    reported: list[tuple[str, str]] = []
    after = threading.Event()

    def handle(item: int) -> None:
        if item == 0:
            raise ZeroDivisionError("no")
        after.set()

    def report(slot: str, error: Exception) -> None:
        reported.append((slot, str(error)))
        worker.put("image", 1)

    worker = Worker({"image": handle}, report)
    worker.put("image", 0)
    assert after.wait(5)
    assert reported == [("image", "no")]
    worker.stop(5)
    assert worker.stopped


def test_stop_ends_the_thread_and_waits_for_work_in_hand() -> None:
    before = threading.active_count()
    started, log = threading.Event(), []

    def slow(item: int) -> None:
        started.set()
        threading.Event().wait(0.1)
        log.append(item)

    worker = Worker({"image": slow}, lambda slot, error: None)
    worker.put("image", 1)
    assert started.wait(5)
    worker.put("image", 2)
    worker.stop(5)
    assert log == [1]
    assert threading.active_count() == before
