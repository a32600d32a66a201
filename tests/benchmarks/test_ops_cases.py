"""The ops' cases: references are measured on a CPU, kernels are left out there and compared on a GPU."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from diff2i2p_core.benchmarks import ops
from diff2i2p_core.benchmarks.measure import compared, measure
from diff2i2p_core.cli.main import app


def test_kernels_without_a_gpu_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "POINTS", 300)
    ops._levels.cache_clear()
    threads = torch.get_num_threads()
    result = CliRunner().invoke(app, ["bench", "ops", "--runs", "2", "--json", "--threads", "1"])
    torch.set_num_threads(threads)
    ops._levels.cache_clear()
    assert result.exit_code == 0, result.output
    measured = [case["name"] for case in json.loads(result.stdout)["parts"][0]["cases"]]
    assert measured == [case.name for case in ops.cases() if case.kernel_of is None]
    assert "ops: kernels need a GPU" in result.stderr


def test_a_kernel_is_compared_with_its_reference() -> None:
    reference, kernel = ops.reference_and_kernel("op", lambda device: lambda: None)
    timing = measure(reference, runs=2, warm_up=0)
    slow = replace(timing, median_ms=6.0, gpu_peak_mb=80.0)
    fast = replace(timing, name=kernel.name, median_ms=2.0, gpu_peak_mb=20.0)
    assert compared(slow, reference, []) == slow
    found = compared(fast, kernel, [slow])
    assert (found.times_faster, found.times_less_memory) == (3.0, 4.0)


def test_the_kernels_of_a_view_are_compared_with_torchs() -> None:
    kernels = {case.kernel_of for case in ops.cases()}
    assert {"view of 60k points to 640x480", "view of 60k points to 760x520, described by XFeat"} <= kernels
