"""timm for the tests that need it: it is in no set-up, since not every torch has a torchvision beside it."""

from __future__ import annotations

from typing import Any

import pytest


def timm_or_skip() -> Any:
    """The package; the test is skipped without it."""
    try:
        import timm
    except Exception as error:  # torchvision fails in its own ways beside a torch it was not built with
        pytest.skip(f"needs the extra 'timm' ({error})")
    return timm
