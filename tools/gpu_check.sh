#!/usr/bin/env bash
# Measures everything on the GPU in one run of at most 8 minutes, without internet: OUT/gpu_check.json and .md.
#
#   tools/gpu_check.sh OUT              on a machine with an NVIDIA GPU
#   tools/gpu_check.sh OUT --dry-run    tiny sizes on the CPU, to check the script itself
#
# PYTHON chooses the interpreter; by default that of .venv, else python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
[[ -x $(command -v "$python") ]] || python=python3
exec env PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}" "$python" tools/gpu_check.py "$@"
