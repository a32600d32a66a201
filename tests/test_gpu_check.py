"""tools/gpu_check.sh: its dry run fills all parts, and what cannot run is one line."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

REPO = Path(__file__).resolve().parents[1]


def gpu_check(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REPO / "tools/gpu_check.sh", *map(str, arguments)],
        env={key: v for key, v in os.environ.items() if key != "DIFF2I2P_DATA"} | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("xfeat_network")
def test_a_dry_run_fills_every_part(tmp_path: Path) -> None:
    done = gpu_check(tmp_path, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "gpu_check.json").read_text())
    parts = content["parts"]
    assert content["dry_run"] and [*parts] == [
        "tests",
        "ops",
        "network",
        "views",
        "localize",
        "training",
        "half",
    ]
    assert all(part["rows"] and not part["error"] for part in parts.values())
    (view,) = parts["ops"]["rows"]  # whose kernels are compared with torch's where there is a GPU
    assert view["case"] == "view of 60k points to 640x480" and view["median_ms"] > 0
    assert {row["case"]: row["images"] for row in parts["localize"]["rows"]} == {
        "views, batch 1": 2,
        "views, as the node": 2,
    }
    assert parts["training"]["rows"][0]["steps_per_s"] > 0
    assert [row["case"] for row in parts["half"]["rows"]] == ["float32", "bfloat16"]
    page = (tmp_path / "gpu_check.md").read_text()
    assert all(f"## {name}" in page for name in parts) and "| images_per_s |" in page


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the check would run")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = gpu_check(tmp_path)
    assert done.returncode == 2
    assert done.stderr == "gpu_check: no CUDA device; use --dry-run to check the script on the CPU\n"


def test_a_part_that_fails_or_takes_too_long_keeps_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPO / "tools")
    check = importlib.import_module("gpu_check")

    def fails() -> Iterator[dict[str, Any]]:
        yield {"case": "a", "ms": 1.0}
        raise RuntimeError("out of memory")

    part = check.run_part(fails, 9)
    assert part["rows"] == [{"case": "a", "ms": 1.0}] and part["error"] == "RuntimeError: out of memory"
    endless = check.run_part(lambda: iter(lambda: {"case": "b"}, None), 0.05)
    assert "left out" in endless["error"] and endless["rows"]
    page = check.as_markdown({"machine": {"torch": "2"}, "parts": {"x": part}})
    assert "| case | ms |" in page and "| a | 1 |" in page and "out of memory" in page
    assert sum(check.SECONDS.values()) <= 480
