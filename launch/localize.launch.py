"""ros2 launch diff2i2p localize.launch.py map:=room.map image:=/camera/image_raw [rviz:=true]
ros2 launch diff2i2p localize.launch.py map:=room.map base_frame:=base_link cameras:=front,left

`--show-args` lists the arguments. If one is empty, the value in the parameter file is used.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from diff2i2p.launch_topics import camera_names, camera_remappings

SHARE = Path(get_package_share_directory("diff2i2p"))

PARAMETERS = {
    "map": "map file made by `diff2i2p map build`; empty: wait for a cloud on the topic map_cloud",
    "weights": "weights file or name of shipped weights; empty: the map's",
    "device": "cpu, cuda or cuda:N",
    "odom_frame": "odometry frame; if set, map -> odom_frame is published",
    "odometry_source": "tf, or topic: odometry as nav_msgs/Odometry on the topic odom",
    "base_frame": "robot frame; if set, its pose is published instead of the camera's",
    "image_transport": "any, raw, compressed or ffmpeg (H.264 or H.265 on <image>/ffmpeg)",
    "camera_frame": "optical frame of the camera; empty: the images' frame_id",
    "cameras": "names of several cameras on base_frame, such as front,left; empty: one camera",
    "map_up": "axis of a map cloud that points up: x, y, z, -x, -y, -z or auto",
    "publish_tf": "true or false: publish the transform as well as the pose",
    "mode": "continuous or on_request: process images all the time, or only for the service localize_once",
    "initial_pose": "x,y,z,yaw or x,y,z,qx,qy,qz,qw of the robot in the map: the first prior",
    "initial_pose_file": "file in which the last pose is saved for the next start; empty: do not save it",
}
"""Arguments that are also parameters of the node."""

TOPICS = {
    "image": (
        "camera/image_raw",
        "image topic; <image>/compressed is read as well; with cameras: one each, or <camera>/image_raw",
    ),
    "camera_info": (
        "",
        "calibration topic; empty: camera_info beside the image topic; with cameras: one each",
    ),
    "depth": (
        "",
        "depth topic, registered to the image, for maps of all kinds; empty: none; with cameras: one each",
    ),
    "odom": ("odom", "odometry topic, used with odometry_source:=topic"),
    "map_cloud": (
        "map_cloud",
        "PointCloud2 topic of the map (reliable, transient local), used without a map file",
    ),
}
"""A name without a leading slash is below the namespace."""

PROFILE_OF = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""The variables of Fast DDS 2 and 3."""

CHOICES = {
    "log_level": ["debug", "info", "warn", "error", "fatal"],
    **{name: ["true", "false", "True", "False"] for name in ("respawn", "use_sim_time", "rviz")},
    "publish_tf": ["", "true", "false", "True", "False"],
}
"""The values of arguments that the node does not check, or not in one line."""

PROCESS = {
    "namespace": ("", "namespace of the node and its relative topics"),
    "name": ("diff2i2p", "name of the node"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "respawn": ("false", "true: start the node again 2 s after it has ended"),
    "fastdds_profile": (
        "",
        "Fast DDS profile of the node; `shipped`: the package's; empty: that of the environment",
    ),
    "use_sim_time": ("false", "take the time from /clock (bags, simulation)"),
    "rviz": ("false", "start RViz with the package's configuration"),
}


def generate_launch_description() -> LaunchDescription:
    empty = {name: ("", text) for name, text in PARAMETERS.items()}
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=CHOICES.get(name))
        for name, (default, text) in (empty | TOPICS | PROCESS).items()
    ]
    arguments.append(
        DeclareLaunchArgument(
            "params_file",
            default_value=str(SHARE / "config" / "localize.yaml"),
            description="YAML file of the node's parameters; the arguments above override it",
        )
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "rviz" / "localize.rviz")],
        parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=_localization_node), rviz])


def _localization_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    names = (*PARAMETERS, *TOPICS, *PROCESS, "params_file")
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    profile = _profile(values["fastdds_profile"])
    for name, file in (("params_file", values["params_file"]), ("fastdds_profile", profile)):
        if file and not Path(file).is_file():  # else launch and Fast DDS warn, and go on without it
            raise FileNotFoundError(f"{name}: {file}: no such file")
    given: dict[str, object] = {name: values[name] for name in PARAMETERS if values[name]}
    if "publish_tf" in given:
        given["publish_tf"] = ParameterValue(LaunchConfiguration("publish_tf"), value_type=bool)
    if values["cameras"]:
        given["cameras"] = camera_names(values["cameras"])
    if values["depth"]:
        given["use_depth"] = True
    return [
        LifecycleNode(
            package="diff2i2p",
            executable="localization_node",
            name=values["name"],
            namespace=values["namespace"],
            output="screen",
            respawn=values["respawn"].lower() == "true",
            respawn_delay=2.0,
            additional_env=dict.fromkeys(PROFILE_OF, profile) if profile else {},
            arguments=["--ros-args", "--log-level", values["log_level"]],
            parameters=[
                values["params_file"],
                given | {"use_sim_time": LaunchConfiguration("use_sim_time")},
            ],
            remappings=[
                *camera_remappings(*(values[name] for name in ("cameras", "image", "camera_info", "depth"))),
                ("odom", values["odom"]),
                ("map_cloud", values["map_cloud"]),
            ],
        )
    ]


def _profile(given: str) -> str:
    return str(SHARE / "config" / "fastdds.xml") if given == "shipped" else given
