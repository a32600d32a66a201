"""Linux arm64 (Jetson) installs from wheels alone: nothing is required there that has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
ARM64_WHEELS = {
    "core": {
        "torch",
        "numpy",
        "scipy",
        "opencv-python-headless",
        "pydantic",
        "pyyaml",
        "typer",
        "rich",
        "safetensors",
        "pillow",
        "laspy",
    },
    "train": {"accelerate", "diffusers", "transformers", "tensorboard", "matplotlib"},
    "viz": {"matplotlib"},
    "bags": {"rosbags"},
    "dev": {"pytest", "ruff", "mypy", "hypothesis", "types-pyyaml"},
}
"""Distributions with wheels for Linux arm64 or any platform, as are all that they require. A new dependency:

uv pip compile pyproject.toml --python-version 3.10 --python-platform aarch64-manylinux_2_28 \
    --only-binary :all: --extra train --extra viz --extra bags --extra dev

(and with 3.12) has to find a solution, else give it a marker. The extra `ros` is for x86_64: elsewhere ROS 2
comes from its own packages.
"""
MACHINES = {"arm64": ("linux", "aarch64"), "x86_64": ("linux", "x86_64"), "mac": ("darwin", "arm64")}


def required(group: str, machine: str, python: str) -> set[str]:
    """Names of the distributions that a group of dependencies asks for on such a machine."""
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    texts = project["dependencies"] if group == "core" else project["optional-dependencies"][group]
    platform, processor = MACHINES[machine]
    environment = {str(key): str(value) for key, value in default_environment().items()} | {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "platform_machine": processor,
    }
    requirements = (Requirement(text) for text in texts)
    return {r.name.lower() for r in requirements if r.marker is None or r.marker.evaluate(environment)}


@pytest.mark.parametrize("python", ["3.10", "3.12"])
@pytest.mark.parametrize("group", ARM64_WHEELS)
def test_what_arm64_requires_has_wheels_there(group: str, python: str) -> None:
    assert required(group, "arm64", python) == ARM64_WHEELS[group]


@pytest.mark.parametrize("machine", ["x86_64", "mac"])
def test_poselib_is_required_where_it_has_wheels(machine: str) -> None:
    assert required("core", machine, "3.12") == ARM64_WHEELS["core"] | {"poselib"}
    assert "poselib" not in required("core", machine, "3.14")


def test_every_extra_but_ros_is_in_the_table() -> None:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {*extras, "core"} == {*ARM64_WHEELS, "ros"}
