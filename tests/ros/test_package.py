"""The ROS package builds with colcon, installs everything that users need, and its executable runs."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from ros_harness import Robot

from diff2i2p.parameters import Parameters

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "ros2_ws/src/diff2i2p"


def _literal(path: Path, name: str) -> dict[str, object]:
    """The dictionary that a file assigns to a name. The file is not run, as PyPI has no `launch`."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return dict(ast.literal_eval(statement.value))
    raise AssertionError(name)


def test_launch_arguments_are_parameters_and_documented() -> None:
    launch = REPO / "launch/localize.launch.py"
    parameters, topics, process = (_literal(launch, name) for name in ("PARAMETERS", "TOPICS", "PROCESS"))
    assert set(parameters) <= {row.name for row in fields(Parameters)}
    table = (REPO / "docs/ros2.md").read_text(encoding="utf-8").split("| argument |")[1].split("\n\n")[0]
    relative = [default for default, _ in topics.values()]  # type: ignore[misc, has-type]
    assert not any(name.startswith("/") for name in relative)
    missing = {name for name in (*parameters, *topics, *process) if f"`{name}`" not in table}
    assert not missing


def test_package_xml_names_what_is_imported() -> None:
    """But for diff2i2p_core, which comes from pip."""
    text = (PACKAGE / "package.xml").read_text(encoding="utf-8")
    named = set(re.findall(r"<exec_depend>(.*)</exec_depend>", text))
    files = [*(PACKAGE / "diff2i2p").rglob("*.py"), *(REPO / "launch").glob("*.py")]
    modules = {name.partition(".")[0] for file in files for name in _imports(file)}
    foreign = modules - sys.stdlib_module_names - {"diff2i2p", "diff2i2p_core"}
    assert {KEYS.get(name, name) for name in foreign} <= named
    replaced = {path.stem for path in (PACKAGE / "diff2i2p/standins").glob("[a-z]*.py")}
    assert {KEYS.get(name, name) for name in replaced} <= named
    assert all(
        f'"{word}"' not in file.read_text() or key in named for file in files for word, key in COMMANDS
    )


KEYS = {"numpy": "python3-numpy", "cv2": "python3-opencv", "PIL": "python3-pil", "scipy": "python3-scipy"}
KEYS |= {"tf2_ros": "tf2_ros_py", "point_cloud2": "sensor_msgs_py"}
COMMANDS = (("bag", "ros2bag"), ("rviz2", "rviz2"))
"""Words of launch files that start another package's program."""


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("given", [{}, {"OMP_NUM_THREADS": "2", "OPENCV_FOR_THREADS_NUM": "2"}])
def test_numerical_work_has_one_thread_unless_told_otherwise(
    node_environment: dict[str, str], given: dict[str, str]
) -> None:
    script = "import diff2i2p, torch, cv2; print(torch.get_num_threads(), cv2.getNumThreads())"
    kept = {name: value for name, value in node_environment.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=kept | given, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == (["2", "2"] if given else ["1", "1"])


def test_the_node_is_there_before_torch_is_loaded(node_environment: dict[str, str]) -> None:
    """That takes seconds; until then it could not answer."""
    script = "import sys, diff2i2p.localization_node; print('torch' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=node_environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built by colcon from a copy of the workspace."""
    colcon = shutil.which("colcon", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if colcon is None:
        pytest.skip("needs colcon: run `make setup`, or install colcon-common-extensions")
    root = tmp_path_factory.mktemp("workspace")
    ignored = shutil.ignore_patterns("build", "install", "log", "__pycache__", "*.egg-info")
    shutil.copytree(PACKAGE, root / "ros2_ws/src/diff2i2p", ignore=ignored)
    environment = os.environ.copy()
    environment.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    environment.setdefault("CMAKE_PREFIX_PATH", sys.prefix)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    built = subprocess.run(
        [colcon, "build"], cwd=root / "ros2_ws", env=environment, capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return root / "ros2_ws/install/diff2i2p"


@pytest.fixture
def environment(installed: Path) -> dict[str, str]:
    """As install/setup.bash sets it, with diff2i2p_core from this repository."""
    site = next(installed.glob("lib/python*/site-packages"))
    prefixes = [str(installed), os.environ.get("AMENT_PREFIX_PATH") or sys.prefix]
    paths = [str(site), str(REPO), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "AMENT_PREFIX_PATH": os.pathsep.join(prefixes),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


@pytest.mark.slow
def test_everything_is_installed(installed: Path) -> None:
    share = installed / "share/diff2i2p"
    for name in (
        "launch/localize.launch.py",
        "launch/replay.launch.py",
        "config/localize.yaml",
        "config/fastdds.xml",
        "rviz/localize.rviz",
        "package.xml",
    ):
        assert (share / name).is_file(), name
    assert (installed / "share/ament_index/resource_index/packages/diff2i2p").is_file()
    (site,) = installed.glob("lib/python*/site-packages/diff2i2p")
    assert _sources(PACKAGE / "diff2i2p") == _sources(site)


def _sources(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


@pytest.fixture
def executable(installed: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [str(installed / "lib/diff2i2p/localization_node"), "--ros-args", "-p", "odom_frame:=map"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_executable_names_a_bad_parameter_and_ends_cleanly(
    robot: Robot, executable: subprocess.Popen[str], ending: signal.Signals
) -> None:
    robot.wait_status(2, "parameter map_frame: 'map' is also another frame's name", timeout=60)
    executable.send_signal(ending)
    assert executable.wait(20) == 0
    assert executable.stderr is not None
    log = executable.stderr.read()
    assert "not configured: parameter map_frame" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_parameter_of_the_wrong_type_is_one_line(installed: Path, environment: dict[str, str]) -> None:
    command = [str(installed / "lib/diff2i2p/localization_node"), "--ros-args", "-p", "publish_tf:=maybe"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "publish_tf" in ended.stderr and "Traceback" not in ended.stderr
