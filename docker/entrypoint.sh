#!/usr/bin/env bash
# Runs a command with ROS 2, the node's workspace and the virtual environment set up.
set -e
source "/opt/ros/${ROS_DISTRO:-jazzy}/setup.bash"
source /opt/diff2i2p/ros2_ws/local_setup.bash
source /opt/diff2i2p/venv/bin/activate
exec "$@"
