"""docker/: what can be checked without a Docker daemon."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app

REPO = Path(__file__).resolve().parents[1]
DOCKER = REPO / "docker"
PREFIX = "/opt/diff2i2p"


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (DOCKER / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return dict(compose["services"])


def test_both_images_are_multi_stage_on_ros_and_not_root(dockerfile: str) -> None:
    assert re.findall(r"^ARG ROS_IMAGE=(.*)", dockerfile, re.M) == ["ros:jazzy-ros-base"]
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n((?:(?!^FROM ).*\n)*)", dockerfile, re.M))
    assert [*stages] == [
        "sources",
        "build-cpu",
        "build-cuda",
        "run",
        "cuda",
        "cpu",
    ]  # the last is the default
    assert re.search(r"^ARG UID=[1-9]\d+", stages["run"], re.M)
    for name in ("cpu", "cuda"):
        assert stages[name].rstrip().splitlines()[-1] == "USER ${UID}"
        assert f"COPY --from=build-{name} {PREFIX} {PREFIX}" in stages[name]
        assert "COPY . ." not in stages["run"] + stages[name]
    for run in re.findall(r"^RUN apt-get.*?(?<!\\)\n", dockerfile, re.M | re.S):
        assert "--no-install-recommends" in run and "rm -rf /var/lib/apt/lists/*" in run


def test_everything_that_the_dockerfile_names_exists(dockerfile: str) -> None:
    extras = re.findall(rf"docker/install\.sh {PREFIX} (\S+)", dockerfile)
    project = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    for extra in ",".join(extras).split(","):
        assert re.search(rf"^{extra} = \[", project, re.M), extra
    for path in re.findall(r"^COPY (docker/\S+)", dockerfile, re.M):
        assert (REPO / path).is_file()
    (profile,) = re.findall(
        rf"FASTRTPS_DEFAULT_PROFILES_FILE={PREFIX}/ros2_ws/diff2i2p/share/(\S+)", dockerfile
    )
    assert (REPO / "ros2_ws/src" / profile).is_file()


@pytest.mark.parametrize("script", ["install.sh", "entrypoint.sh"])
def test_scripts_can_run(script: str) -> None:
    assert os.access(DOCKER / script, os.X_OK)
    subprocess.run(["bash", "-n", str(DOCKER / script)], check=True)


def test_the_entry_point_sources_what_was_installed() -> None:
    entry = (DOCKER / "entrypoint.sh").read_text(encoding="utf-8")
    install = (DOCKER / "install.sh").read_text(encoding="utf-8")
    assert "/opt/ros/${ROS_DISTRO:-jazzy}/setup.bash" in entry
    assert f"{PREFIX}/ros2_ws/local_setup.bash" in entry and '--install-base "$PREFIX/ros2_ws"' in install
    assert (
        f"{PREFIX}/venv/bin/activate" in entry and '-m venv --system-site-packages "$PREFIX/venv"' in install
    )


def test_features_are_in_the_image_where_any_user_finds_them(dockerfile: str) -> None:
    install = (DOCKER / "install.sh").read_text(encoding="utf-8")
    assert 'DIFF2I2P_WEIGHTS=$PREFIX/weights "$PREFIX/venv/bin/diff2i2p" weights fetch xfeat ||' in install
    assert f"DIFF2I2P_WEIGHTS={PREFIX}/weights" in dockerfile


def test_compose_runs_commands_that_exist(services: dict[str, Any], dockerfile: str) -> None:
    assert set(services) == {"demo", "localize", "train"}
    for name, service in services.items():
        target = service["build"]["target"]
        assert f" AS {target}\n" in dockerfile
        assert (service["image"] == "diff2i2p:cuda") == (target == "cuda") == (name == "train")
        words = shlex.split(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", service["command"]))
        if words[0] == "diff2i2p":
            assert CliRunner().invoke(app, [words[1], "--help"]).exit_code == 0
        else:
            assert words[:4] == ["ros2", "launch", "diff2i2p", "localize.launch.py"]
            given = {word.partition(":=")[0] for word in words[4:]}
            assert given <= _launch_arguments()


def _launch_arguments() -> set[str]:
    names: set[str] = set()
    for statement in ast.parse((REPO / "launch/localize.launch.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in (
            "PARAMETERS",
            "TOPICS",
        ):
            names |= set(ast.literal_eval(statement.value))
    return names
