"""The names that users import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.util import find_spec

import pytest

import diff2i2p_core


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, diff2i2p_core; print(*sorted({'torch', 'cv2', 'scipy', 'numpy'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


@pytest.mark.parametrize("name", diff2i2p_core.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(diff2i2p_core, name)
    assert inspect.getdoc(value), name
    if inspect.isclass(value):
        for member, function in inspect.getmembers(value, inspect.isroutine):
            if not member.startswith("_") and function.__qualname__.startswith(f"{value.__name__}."):
                assert inspect.getdoc(function), f"{name}.{member}"


def test_the_table_of_homes_is_what_is_exported() -> None:
    assert sorted(diff2i2p_core._HOMES) == sorted(diff2i2p_core.__all__) == diff2i2p_core.__all__
    assert set(diff2i2p_core.__all__) <= set(dir(diff2i2p_core))
    with pytest.raises(AttributeError, match="no attribute 'Localiser'"):
        diff2i2p_core.Localiser  # noqa: B018


def test_no_module_hides_a_public_name() -> None:
    """If `diff2i2p_core.replay` were a module, importing it would replace the function."""
    assert [name for name in diff2i2p_core.__all__ if find_spec(f"diff2i2p_core.{name}")] == []
