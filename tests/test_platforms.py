"""Linux arm64 (Jetson) installs from wheels alone: every requirement there has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
ARM64_WHEELS = frozenset(
    (
        *("torch", "numpy", "scipy", "opencv-python-headless", "pydantic", "pyyaml", "typer", "rich"),
        *("safetensors", "pillow", "laspy", "small-gicp", "joblib", "dask", "distributed", "viser"),
        *("accelerate", "diffusers", "transformers", "tensorboard", "matplotlib", "timm", "rosbags"),
        *("trimesh", "av", "numba"),
        *(
            "pytest",
            "pytest-xdist",
            "ruff",
            "mypy",
            "hypothesis",
            "types-pyyaml",
            "sphinx",
            "myst-parser",
            "furo",
        ),
    )
)
"""Distributions that have wheels for Linux arm64 or for any platform, and require only such ones. Before a
name is added, this must find a solution, with Python 3.10 and 3.12 and the extra that asks for it:

    uv pip compile pyproject.toml --python-version 3.10 --only-binary :all: \\
        --python-platform aarch64-manylinux_2_28

A distribution without such wheels needs a marker and a substitute.
"""
ELSEWHERE = {"ros"}
"""Extras for x86_64 alone: on other machines ROS 2 comes from its own packages."""
MACHINES = {"arm64": ("linux", "aarch64"), "x86_64": ("linux", "x86_64"), "mac": ("darwin", "arm64")}


@pytest.fixture(scope="module")
def groups() -> dict[str, list[str]]:
    """The requirements of the core and of each extra."""
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project: dict[str, Any] = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return {"core": project["dependencies"], **project["optional-dependencies"]}


def required(requirements: list[str], machine: str, python: str) -> set[str]:
    """Names of the distributions that requirements ask for on such a machine."""
    platform, processor = MACHINES[machine]
    environment = {str(key): str(value) for key, value in default_environment().items()} | {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "platform_machine": processor,
    }
    parsed = (Requirement(text) for text in requirements)
    return {r.name.lower() for r in parsed if r.marker is None or r.marker.evaluate(environment)}


@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_what_arm64_requires_has_wheels_there(groups: dict[str, list[str]], python: str) -> None:
    asked = {name: required(texts, "arm64", python) for name, texts in groups.items()}
    assert {"torch", "laspy"} <= asked["core"]
    assert {name: found - ARM64_WHEELS for name, found in asked.items() if name not in ELSEWHERE} == {
        name: set() for name in groups if name not in ELSEWHERE
    }


@pytest.mark.parametrize("machine", ["x86_64", "mac"])
def test_poselib_is_required_where_it_has_wheels(groups: dict[str, list[str]], machine: str) -> None:
    assert required(groups["core"], machine, "3.12") - ARM64_WHEELS == {"poselib"}
    assert "poselib" not in required(groups["core"], machine, "3.14")
