"""The launch files with the real `launch`, where it is installed: PyPI has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")
pytest.importorskip("launch_ros", reason="needs launch_ros")

REPO = Path(__file__).resolve().parents[2]
WRAPPER = """
import sys
import ament_index_python.packages as index
index.get_package_share_directory = lambda name: sys.argv[1]
from launch import LaunchService
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.actions import IncludeLaunchDescription
given = [tuple(word.split(":=", 1)) for word in sys.argv[3:]]
source = PythonLaunchDescriptionSource(sys.argv[2])
service = LaunchService(noninteractive=True)
service.include_launch_description(IncludeLaunchDescription(source, launch_arguments=given))
sys.exit(service.run())
"""


def launched(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    package = REPO / "ros2_ws/src/diff2i2p"
    file = REPO / "launch/localize.launch.py"
    command = [sys.executable, "-c", WRAPPER, str(package), str(file), *arguments]
    environment = os.environ | {"ROS_LOG_DIR": str(tmp_path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("log_level:=loud", "log_level"),
        ("respawn:=perhaps", "respawn"),
        ("publish_tf:=maybe", "publish_tf"),
        ("use_sim_time:=1", "use_sim_time"),
        ("params_file:=/nowhere.yaml", "params_file: /nowhere.yaml: no such file"),
        ("fastdds_profile:=/nowhere.xml", "fastdds_profile: /nowhere.xml: no such file"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_started(tmp_path: Path, argument: str, words: str) -> None:
    done = launched(tmp_path, argument)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and words in said, said
    assert "process started" not in said and "Traceback" not in said
