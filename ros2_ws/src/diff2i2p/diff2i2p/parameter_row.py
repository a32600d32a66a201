"""How a row of the parameter table is written."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

TakesEffect = Literal["at once", "at configure", "at reload_map", "at start"]


def parameter(
    default: Any,
    description: str,
    *,
    takes_effect: TakesEffect = "at configure",
    at_least: float = 0,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """One row of the table. Numbers run from `at_least` to `at_most`; strings can be limited to `choices`."""
    metadata = {
        "description": description,
        "takes_effect": takes_effect,
        "at_least": at_least,
        "at_most": at_most,
        "choices": choices,
    }
    return field(default=default, metadata=metadata)
