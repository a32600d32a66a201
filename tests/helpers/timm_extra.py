"""timm for the tests that need it. No set-up installs it, as not every torch has a matching torchvision."""

from __future__ import annotations

from typing import Any

import pytest


def timm_or_skip() -> Any:
    """The package; the test is skipped without it."""
    try:
        import timm
    except Exception as error:  # torchvision fails in many ways with a torch that it was not built for
        pytest.skip(f"needs the extra 'timm' ({error})")
    return timm
