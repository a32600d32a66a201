"""How tests of kernels run them: for real on a GPU, else through Triton's interpreter; and compile them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parent
REPO = FOLDER.parents[2]


@pytest.fixture(autouse=True)
def fast_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reductions that the interpreter takes element by element, as those of `tl.sort`, a slice at a time; and
    scans along the only axis, in as many steps as their length has bits."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")

    def reduce(self: Any, inputs: tuple[Any, ...]) -> list[Any]:
        def part(i: int) -> list[Any]:
            return [self.to_tensor(x.handle.data.take(i, self.axis), x.dtype) for x in inputs]

        total = part(0)
        for i in range(1, inputs[0].shape[self.axis]):
            combined = self.combine_fn.fn(*total, *part(i))
            total = list(combined) if isinstance(combined, tuple) else [combined]
        if self.keep_dims:
            values = [np.expand_dims(x.handle.data, self.axis) for x in total]
            total = [self.to_tensor(x, y.dtype) for x, y in zip(values, inputs, strict=True)]
        return total

    def scan(self: Any, inputs: tuple[Any, ...]) -> list[Any]:
        (values,) = inputs
        data, step = values.handle.data, 1
        while step < len(data):
            shifted = np.concatenate([data[:step], data[:-step]])
            combined = self.combine_fn.fn(*(self.to_tensor(part, values.dtype) for part in (shifted, data)))
            data = np.where(np.arange(len(data)) < step, data, combined.handle.data)
            step *= 2
        return [self.to_tensor(data, values.dtype)]

    monkeypatch.setattr(interpreter.ScanOps, "generic_scan", scan)
    whole = interpreter.ReduceOps.generic_reduce
    monkeypatch.setattr(
        interpreter.ReduceOps,
        "generic_reduce",
        lambda self, inputs: whole(self, inputs) if self.axis is None else reduce(self, inputs),
    )


@pytest.fixture
def compile_launches(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Compiles what "module:function" of this folder launches, see `compile_launches.py`."""
    pytest.importorskip("triton")

    def compiled(function: str, arch: int = 90) -> list[dict[str, Any]]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(FOLDER), str(REPO)]),
            "TRITON_CACHE_DIR": str(tmp_path),
            "TRITON_INTERPRET": "0",
        }
        command = [sys.executable, str(FOLDER / "compile_launches.py"), function, str(arch)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        kernels: list[dict[str, Any]] = json.loads(run.stdout)
        return kernels

    return compiled
