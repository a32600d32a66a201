"""ros2 launch diff2i2p replay.launch.py bag:=FOLDER map:=room.map image:=/camera/image_raw [rviz:=true]

Plays a bag to the localization node, with its time on /clock. All arguments of localize.launch.py apply.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    SetLaunchConfiguration,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

LOCALIZE = Path(get_package_share_directory("diff2i2p")) / "launch" / "localize.launch.py"


def generate_launch_description() -> LaunchDescription:
    play = ["ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "100"]
    play += ["--rate", LaunchConfiguration("rate"), "--delay", LaunchConfiguration("delay")]
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="bag folder or file, MCAP or sqlite3"),
            DeclareLaunchArgument("rate", default_value="1.0", description="playback speed"),
            DeclareLaunchArgument(
                "delay",
                default_value="10.0",
                description="seconds to wait before playing, while the map is loaded",
            ),
            SetLaunchConfiguration("use_sim_time", "true"),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(LOCALIZE))),
            ExecuteProcess(cmd=play, output="screen"),
        ]
    )
