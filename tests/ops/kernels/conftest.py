"""How tests of kernels run them: for real on a GPU, else through Triton's interpreter; and compile them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
REPO = FOLDER.parents[2]


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
