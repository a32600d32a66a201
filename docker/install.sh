#!/usr/bin/env bash
# Installs the package with its EXTRAS, and the node's workspace, below PREFIX: install.sh PREFIX EXTRAS
# Nothing there refers to this source folder. Needs a sourced ROS 2 with colcon.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PREFIX=$1 EXTRAS=$2
readonly PYTHON=$PREFIX/venv/bin/python

python3 -m venv --system-site-packages "$PREFIX/venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$PYTHON" -m pip install --constraint constraints.txt torch
"$PYTHON" -m pip install --constraint constraints.txt ".[$EXTRAS]"

# Open to any user of the image: more weights may be fetched there.
install -d -m 1777 "$PREFIX/weights"
DIFF2I2P_WEIGHTS=$PREFIX/weights "$PREFIX/venv/bin/diff2i2p" weights fetch xfeat ||
  echo "install.sh: XFeat's weights could not be fetched; the first use tries again" >&2

# With the virtual environment's Python, which `ros2 launch` and `ros2 run` then start the node with.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PYTHON" "$(command -v colcon)" --log-base "$work/log" build \
  --base-paths ros2_ws/src --build-base "$work/build" --install-base "$PREFIX/ros2_ws"
