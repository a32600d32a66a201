"""A task on a second thread: its results, its exceptions, and that no thread is left behind."""

from __future__ import annotations

import threading

import pytest
import torch

from diff2i2p_core.localization import beside as module
from diff2i2p_core.localization.beside import beside, in_parts, side_by_side

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cores", lambda: 2)
    threads = torch.get_num_threads()
    assert threads == 1, "the tests run with OMP_NUM_THREADS=1"


def other_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "diff2i2p beside"]


def test_the_task_runs_while_the_body_does_and_has_ended_after_it() -> None:
    started, body_done = threading.Event(), threading.Event()
    results: list[str] = []

    def task() -> None:
        started.set()
        assert body_done.wait(10)
        results.append("task")

    with beside(task, CPU):
        assert started.wait(10)
        assert len(other_threads()) == 1
        results.append("body")
        body_done.set()
    assert results == ["body", "task"] and not other_threads()


def test_an_exception_of_the_task_arrives_after_the_body() -> None:
    done = []
    with pytest.raises(ZeroDivisionError), beside(lambda: 1 / 0, CPU):
        done.append("body")
    assert done and not other_threads()


def test_the_thread_ends_if_the_body_fails() -> None:
    done = []
    with pytest.raises(KeyError), beside(lambda: done.append("task"), CPU):
        raise KeyError("body")
    assert done == ["task"] and not other_threads()


@pytest.mark.parametrize("inference", [True, False])
def test_the_task_computes_in_the_mode_of_its_caller(inference: bool) -> None:
    modes = []
    with (
        torch.inference_mode(inference),
        beside(lambda: modes.append(torch.is_inference_mode_enabled()), CPU),
    ):
        pass
    assert modes == [inference]


@pytest.mark.parametrize("why", ["one core", "a GPU", "torch has threads"])
def test_without_gain_it_runs_after_the_body_in_the_same_thread(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "one core":
        monkeypatch.setattr(module, "_cores", lambda: 1)
    if why == "torch has threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    order: list[object] = []
    device = torch.device("cuda") if why == "a GPU" else CPU
    with beside(lambda: order.append(threading.current_thread()), device):
        order.append("body")
    assert order == ["body", threading.current_thread()]


@pytest.mark.parametrize("cores", [1, 2, 3, 64])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 11])
def test_results_are_in_order(monkeypatch: pytest.MonkeyPatch, cores: int, count: int) -> None:
    monkeypatch.setattr(module, "_cores", lambda: cores)
    assert list(side_by_side(lambda item: 2 * item, range(count), CPU)) == [2 * item for item in range(count)]
    assert not other_threads()


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (2, 2), (3, 3), (4, 4), (64, 4)])
def test_as_many_are_computed_at_a_time_as_there_are_cores_up_to_four(
    monkeypatch: pytest.MonkeyPatch, cores: int, at_once: int
) -> None:
    """And only these, if no more results are asked for."""
    monkeypatch.setattr(module, "_cores", lambda: cores)
    together = threading.Barrier(at_once)
    computed: list[int] = []

    def compute(item: int) -> int:
        together.wait(10)
        computed.append(item)
        return item

    results = side_by_side(compute, range(3 * at_once), CPU)
    assert [next(results) for _ in range(at_once + 1)] == list(range(at_once + 1))
    assert sorted(computed) == list(range(2 * at_once))


def test_an_exception_of_any_of_several_is_raised() -> None:
    def fails(item: int) -> int:
        if item == 1:
            raise ValueError("of the second")
        return item

    with pytest.raises(ValueError, match="of the second"):
        list(side_by_side(fails, range(4), CPU))


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (1, [1]), (5, [3, 2]), (6, [3, 3])])
def test_items_are_divided_among_the_cores(number: int, sizes: list[int]) -> None:
    items = list(range(number))
    parts = in_parts(items, CPU)
    assert [len(part) for part in parts] == sizes and [item for part in parts for item in part] == items
    assert in_parts(items, torch.device("cuda")) == ([items] if items else []), "a GPU takes all at once"
