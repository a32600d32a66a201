"""Compiles for a GPU, which need not be there, all that a function launches.

`python compile_launches.py module:function [arch]` runs the function on the CPU with the kernels switched on.
Launches stop after compilation, so the function must not rely on what kernels would write. Prints a JSON list
of name, registers a thread, bytes of spilled registers and of shared memory, one entry a compiled kernel.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def resources(cubin: bytes) -> dict[str, int]:
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        usage = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", usage))
    return {"registers": int(found["REG"]), "spilled": int(found["STACK"]) + int(found["LOCAL"])}


def main(function: str, arch: int = 90) -> None:
    os.environ.pop("TRITON_INTERPRET", None)
    os.environ["DIFF2I2P_OPS"] = "triton"
    from triton.backends.compiler import GPUTarget
    from triton.runtime import JITFunction, driver

    driver.set_active(
        SimpleNamespace(
            get_current_device=lambda: 0,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: GPUTarget("cuda", arch, 32),
        )
    )
    compiled: dict[int, dict[str, Any]] = {}
    run = JITFunction.run

    @functools.wraps(run)
    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        compiled.setdefault(
            id(kernel),
            {
                "name": kernel.metadata.name,
                "warps": kernel.metadata.num_warps,
                "shared": kernel.metadata.shared,
                **resources(kernel.asm["cubin"]),
            },
        )
        return kernel

    JITFunction.run = compile_only
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)()
    print(json.dumps(list(compiled.values())))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
