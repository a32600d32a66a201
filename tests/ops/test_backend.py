"""The choice of precision."""

from __future__ import annotations

import pytest
import torch

from diff2i2p_core.ops import backend


@pytest.mark.parametrize(
    ("wanted", "instructions", "dtype"),
    [(True, True, torch.bfloat16), (True, False, torch.float32), (False, True, torch.float32)],
)
def test_a_cpu_computes_in_bfloat16_only_with_instructions_for_it(
    wanted: bool, instructions: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "computes_bfloat16", lambda: instructions)
    with backend.bfloat16_autocast("cpu", wanted):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
