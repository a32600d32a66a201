"""tools/setup.sh with a stand-in for Python: its steps, their order, and when they are repeated."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]

# Notes its arguments, makes empty environments, fails or kills the set-up when told to.
PYTHON = r"""#!/usr/bin/env bash
echo "$*" >>"$CALLS"
[[ -z ${KILL_ON:-} || "$*" != *"$KILL_ON"* ]] || kill -KILL "$PPID"
[[ -z ${FAIL_ON:-} || "$*" != *"$FAIL_ON"* ]] || { echo "ERROR: $FAIL_WITH"; exit 1; }
case "$*" in
  *print*) [[ $0 == *python3.12 ]] && echo 3.12 || echo 3.11 ;;
  "-c import rclpy") [[ -n ${HAS_ROS:-} ]] ;;
  "-m pip --version") echo "pip 26.3 (python 3.11)" ;;
  "-m venv"*)
    venv=${!#}
    mkdir -p "$venv/bin" && ln -sf "$(realpath "$0")" "$venv/bin/python"
    echo "VIRTUAL_ENV=$venv" >"$venv/bin/activate"
    printf '#!/bin/sh\necho cmake "$@" >>"$CALLS"\n' >"$venv/bin/cmake" && chmod +x "$venv/bin/cmake"
    [[ "$*" == *--system-site-packages* ]] && site=true || site=false
    echo "include-system-site-packages = $site" >"$venv/pyvenv.cfg"
    ;;
esac
"""


@dataclass
class Checkout:
    """A copy of the files that the script reads, and the calls that it made."""

    folder: Path

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "calls").write_text("")
        keep = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        return subprocess.run(
            [self.folder / "tools/setup.sh"],
            env=keep | {"PATH": path, "CALLS": str(self.folder / "calls"), "CXX": "true", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def installs(self) -> list[str]:
        marker = "-m pip install --constraint constraints.txt "
        return [call.removeprefix(marker) for call in self.calls() if call.startswith(marker)]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "a checkout"
    (folder / "bin").mkdir(parents=True)
    for name in ("tools", "ros2_ws/src/diff2i2p/config"):
        shutil.copytree(REPO / name, folder / name)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(REPO / name, folder)
    python = folder / "bin/python3"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return Checkout(folder)


def test_a_second_run_does_nothing(checkout: Checkout) -> None:
    first = checkout.set_up()
    assert first.returncode == 0, first.stderr
    assert "Jazzy from PyPI" in first.stdout
    assert checkout.installs() == [
        "pip setuptools",
        "torch",
        "--no-build-isolation --editable .[train,viz,bags,e57,meshes,cluster,dev,ros]",
        "--no-build-isolation --no-deps --editable ros2_ws/src/diff2i2p",
    ]
    assert sum(call.startswith("cmake --install") for call in checkout.calls()) == 1
    second = checkout.set_up()
    assert (second.returncode, second.stdout, second.stderr, checkout.calls()) == (0, "", "", [])


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml", "tools/tf2_msgs/CMakeLists.txt"])
def test_changed_inputs_are_installed_into_the_same_environment(checkout: Checkout, name: str) -> None:
    checkout.set_up()
    with (checkout.folder / name).open("a") as file:
        file.write("# changed\n")
    assert checkout.set_up().returncode == 0
    assert len(checkout.installs()) == 4
    assert not any(call.startswith("-m venv") for call in checkout.calls())
    assert checkout.set_up().stdout == ""


def test_a_failed_step_is_named_with_its_log_and_its_fix_and_tried_again(checkout: Checkout) -> None:
    failed = checkout.set_up(FAIL_ON="txt torch", FAIL_WITH="OSError: [Errno 28] No space left on device")
    assert failed.returncode == 1
    assert "'PyTorch' failed" in failed.stderr
    assert "build/setup.log" in failed.stderr
    assert "No space left on device" in failed.stderr
    assert "Free some disk space" in failed.stderr
    assert checkout.installs()[-1] == "torch"
    assert checkout.set_up().returncode == 0
    assert len(checkout.installs()) == 4


def test_features_that_cannot_be_fetched_are_one_warning(checkout: Checkout) -> None:
    fetch = "-m diff2i2p_core.cli.main weights fetch xfeat"
    checkout.set_up()
    assert checkout.calls()[-1] == fetch
    (checkout.folder / "constraints.txt").write_text("# changed\n")
    warned = checkout.set_up(FAIL_ON="fetch xfeat", FAIL_WITH="no network")
    assert warned.returncode == 0 and "setup: done" in warned.stdout
    (line,) = warned.stderr.splitlines()
    assert "XFeat's weights could not be fetched" in line
    assert "no network" in (checkout.folder / "build/setup.log").read_text()
    assert checkout.set_up().stdout == ""


def test_a_killed_set_up_does_not_count(checkout: Checkout) -> None:
    assert checkout.set_up(KILL_ON="--editable").returncode != 0
    assert checkout.set_up().returncode == 0
    assert len(checkout.installs()) == 4


def test_an_environment_that_moved_is_made_again(checkout: Checkout) -> None:
    checkout.set_up()
    moved = Checkout(checkout.folder.rename(checkout.folder.with_name("elsewhere")))
    assert moved.set_up().returncode == 0
    assert any(call.startswith("-m venv --clear") for call in moved.calls())


def test_a_sourced_ros_is_used(checkout: Checkout) -> None:
    result = checkout.set_up(ROS_DISTRO="jazzy", HAS_ROS="1")
    assert result.returncode == 0, result.stderr
    assert "jazzy, sourced" in result.stdout
    assert any("--system-site-packages" in call for call in checkout.calls())
    assert "--no-build-isolation --editable .[train,viz,bags,e57,meshes,cluster,dev]" in checkout.installs()
    assert not any(call.startswith("cmake") for call in checkout.calls())


def test_on_arm64_ros_has_to_be_installed(checkout: Checkout) -> None:
    uname = checkout.folder / "bin/uname"
    uname.write_text("#!/bin/sh\necho aarch64\n")
    uname.chmod(0o755)
    refused = checkout.set_up()
    assert refused.returncode == 1
    assert "PyPI has it for x86_64 only; this is aarch64" in refused.stderr
    assert checkout.set_up(ROS_DISTRO="jazzy", HAS_ROS="1").returncode == 0


def test_a_chosen_python_stays(checkout: Checkout) -> None:
    checkout.set_up()
    other = checkout.folder / "bin/python3.12"
    other.symlink_to("python3")
    assert "Python 3.12" in checkout.set_up(PYTHON=str(other)).stdout
    assert any(call.startswith("-m venv --clear") for call in checkout.calls())


def test_without_a_fitting_python_one_line_says_so(checkout: Checkout) -> None:
    result = checkout.set_up(PYTHON="false")
    assert result.returncode == 1
    assert "no Python 3.10 to 3.13 found" in result.stderr
    assert "sudo apt install" in result.stderr
    assert not (checkout.folder / ".venv").exists()


def test_tf2_msgs_is_built_whole() -> None:
    """A tf2_ros of another installation that finds this package needs all of it."""
    folder = REPO / "tools/tf2_msgs"
    wanted = {"msg/TF2Error.msg", "msg/TFMessage.msg", "srv/FrameGraph.srv", "action/LookupTransform.action"}
    build = (folder / "CMakeLists.txt").read_text(encoding="utf-8").split()
    assert wanted <= {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    assert wanted <= set(build)
