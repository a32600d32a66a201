#!/usr/bin/env bash
# Builds ros2_ws with the Python of .venv, so that `ros2 launch` and `ros2 run` start the node with its packages.
# Needs a sourced ROS 2 with colcon.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.venv/bin/python "$(command -v colcon)" --log-base build/colcon-log build \
  --base-paths ros2_ws/src --build-base build/colcon --install-base ros2_ws/install
rm -rf build
