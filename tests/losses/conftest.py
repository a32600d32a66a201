"""Fixtures of the losses: a Stable Diffusion in miniature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_prior import tiny_parts, write_tiny_prior


@pytest.fixture(scope="session")
def make_parts() -> Callable[[], dict[str, Any]]:
    """Makes unet, controlnet, vae, scheduler and text_encoder, the same each time."""
    pytest.importorskip("diffusers", reason="needs the [train] extra")
    return tiny_parts


@pytest.fixture
def parts(make_parts: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return make_parts()


@pytest.fixture
def model_folder(make_parts: Callable[[], dict[str, Any]], tmp_path: Path) -> Path:
    """The same as diffusers folders `base` and `controlnet`, with a tokenizer of single letters."""
    assert make_parts is tiny_parts
    return write_tiny_prior(tmp_path)
