#!/usr/bin/env bash
# Installs the package with EXTRAS, and the node's workspace, below PREFIX: install.sh PREFIX EXTRAS
# The result does not refer to this source folder. Needs a sourced ROS 2 with colcon.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PREFIX=$1 EXTRAS=$2
readonly PYTHON=$PREFIX/venv/bin/python

python3 -m venv --system-site-packages "$PREFIX/venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$PYTHON" -m pip install --constraint constraints.txt torch
"$PYTHON" -m pip install --constraint constraints.txt ".[$EXTRAS]"

# Writable by any user of the image, so that more weights can be fetched.
install -d -m 1777 "$PREFIX/weights"
DIFF2I2P_WEIGHTS=$PREFIX/weights "$PREFIX/venv/bin/diff2i2p" weights fetch xfeat ||
  echo "install.sh: XFeat's weights could not be fetched; they will be fetched at first use" >&2

# Build with the virtual environment's Python: `ros2 launch` and `ros2 run` then start the node with it.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PYTHON" "$(command -v colcon)" --log-base "$work/log" build \
  --base-paths ros2_ws/src --build-base "$work/build" --install-base "$PREFIX/ros2_ws"
