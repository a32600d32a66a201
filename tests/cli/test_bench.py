from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from diff2i2p_core.benchmarks import PARTS
from diff2i2p_core.benchmarks.measure import Case, cases_of, measure
from diff2i2p_core.cli.main import app
from diff2i2p_core.errors import InputError


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_json_is_one_object_with_all_a_comparison_needs() -> None:
    result = CliRunner().invoke(app, ["bench", "training", "--runs", "2", "--json", "--threads", "1"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["machine"]["threads"] == 1
    names = {case["name"]: case for case in answer["parts"][0]["cases"]}
    pnp = names["PnP, 2000 correspondences, forward + backward"]
    assert pnp["lower_quartile_ms"] <= pnp["median_ms"] <= pnp["upper_quartile_ms"]
    assert pnp["released_ms"] == 21500


def test_table_shows_the_cases_of_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "diff2i2p_core.benchmarks.measure.cases_of",
        lambda part: [Case(f"{part}!", lambda device: lambda: None)],
    )
    result = CliRunner().invoke(app, ["bench", "--runs", "2", "--threads", "1"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert all(f"{part}!" in result.stdout for part in PARTS)


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(InputError, match=r"use one of .*training"):
        cases_of("cooking")


def test_median_and_quartiles_are_those_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 0.001, 0, 0.002, 0, 0.003, 0, 0.004, 0, 0.105])
    monkeypatch.setattr("diff2i2p_core.benchmarks.measure.time.perf_counter", lambda: next(ticks))
    timing = measure(Case("nothing", lambda device: lambda: None), runs=5, warm_up=0)
    assert timing.median_ms == pytest.approx(3)
    assert (timing.lower_quartile_ms, timing.upper_quartile_ms) == pytest.approx((2, 4))
    assert timing.fastest_ms == pytest.approx(1)
