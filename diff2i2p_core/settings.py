"""The base class of all groups of settings, and look-up by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from diff2i2p_core.errors import InputError, quoted

Entry = TypeVar("Entry")


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys, and numbers that are NaN or infinite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def look_up(table: Mapping[str, Entry], name: str, setting: str) -> Entry:
    """The entry `name` of a table. InputError naming the `setting` and all names if there is none."""
    if name not in table:
        raise InputError(f"{setting} {quoted(name)} is unknown; use one of {', '.join(table)}")
    return table[name]
