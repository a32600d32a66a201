"""A task on a second thread: its results, its exceptions, and that no thread is left behind."""

from __future__ import annotations

import threading

import pytest
import torch

from diff2i2p_core.localization import beside as module
from diff2i2p_core.localization.beside import beside, in_pairs

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


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_results_in_pairs_are_in_order(monkeypatch: pytest.MonkeyPatch, cores: int, count: int) -> None:
    monkeypatch.setattr(module, "_cores", lambda: cores)
    assert list(in_pairs(lambda item: 2 * item, range(count), CPU)) == [2 * item for item in range(count)]
    assert not other_threads()


def test_at_most_one_result_too_many_is_computed() -> None:
    computed: list[int] = []

    def compute(item: int) -> int:
        computed.append(item)
        return item

    results = in_pairs(compute, range(10), CPU)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert sorted(computed) == [0, 1, 2, 3]


def test_an_exception_of_either_of_a_pair_is_raised() -> None:
    def fails(item: int) -> int:
        if item == 1:
            raise ValueError("of the second")
        return item

    with pytest.raises(ValueError, match="of the second"):
        list(in_pairs(fails, range(4), CPU))
