#!/usr/bin/env bash
# Makes .venv with everything that `make demo` and `make test` need. Does nothing if it is up to date.
#
#   PYTHON=python3.12 tools/setup.sh    choose the Python (3.10 to 3.13)
#
# A sourced ROS 2 is used as is. Otherwise ROS 2 comes from PyPI, and tf2_msgs is built (tools/tf2_msgs).
set -Eeuo pipefail
shopt -s nullglob
trap 'echo "setup: stopped by an error at line $LINENO of tools/setup.sh" >&2' ERR
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=$PWD/.venv
readonly STAMP=$VENV/.setup-stamp
readonly LOG=$PWD/build/setup.log
readonly NODE=ros2_ws/src/diff2i2p # its data files (and launch/) are copied when it is installed
readonly NEEDED_MB=3000

# A checksum of everything that the set-up depends on; the stamp file holds it.
fingerprint() {
  {
    echo "$VENV ROS:${ROS_DISTRO:-none}"
    find pyproject.toml constraints.txt tools/setup.sh tools/tf2_msgs "$NODE" launch/* -type f \
      -not -path "$NODE/diff2i2p/*" -not -path '*.egg-info/*' -print0 | sort -z | xargs -0 cat
  } | sha256sum
}

up_to_date() {
  [[ -x $VENV/bin/python && -f $STAMP && $(<"$STAMP") == "$(fingerprint)" ]] &&
    [[ -z ${PYTHON:-} || $(version_of "$PYTHON") == $(version_of "$VENV/bin/python") ]]
}

version_of() { # INTERPRETER
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

fail() { # MESSAGE FIX
  printf 'setup: %s\n       %s\n' "$1" "$2" >&2
  exit 1
}

step() { # TITLE COMMAND...
  local title=$1 start=$SECONDS
  shift
  printf '  %-58s' "$title"
  printf '\n== %s: %s\n' "$title" "$*" >>"$LOG"
  if "$@" >>"$LOG" 2>&1 </dev/null; then
    printf '%4d s\n' $((SECONDS - start))
  else
    printf 'failed\n'
    tail -n 15 "$LOG" | sed 's/^/  | /' >&2
    fail "'$title' failed; the whole log is $LOG" "$(hint)"
  fi
}

hint() { # how to fix the failure that the end of the log shows
  local tail
  tail=$(tail -n 40 "$LOG")
  case $tail in
    *"No space left"*) echo "Free some disk space and run it again." ;;
    *resolve* | *onnection* | *"timed out"* | *ProxyError* | *SSLError*)
      echo "Is the package index reachable? Set pip's proxy or index if it is not; then run it again." ;;
    *"No matching distribution"*)
      echo "The package index has no fitting wheel: try another Python with PYTHON=python3.12 tools/setup.sh" ;;
    *) echo "Fix what the log reports, then run it again." ;;
  esac
}

python_fits() { # INTERPRETER
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Sets `ros` (system or wheels) and `python`, the interpreter to use.
choose_python() {
  local candidate
  local -a candidates=(python3 python3.13 python3.12 python3.11 python3.10)
  if [[ -n ${PYTHON:-} ]]; then
    candidates=("$PYTHON")
  elif [[ -x $VENV/bin/python ]]; then
    candidates=("$(readlink -f "$VENV/bin/python")" "${candidates[@]}") # keep the earlier choice
  fi
  if [[ -n ${ROS_DISTRO:-} ]]; then
    for candidate in "${candidates[@]}" /usr/bin/python3; do
      if python_fits "$candidate" && "$candidate" -c 'import rclpy' >/dev/null 2>&1; then
        ros=system python=$candidate
        return
      fi
    done
    echo "setup: ROS 2 $ROS_DISTRO is sourced, but no Python 3.10 to 3.13 here imports its rclpy;"
    echo "       using ROS 2 from PyPI (once ROS 2 is fixed, remove .venv and run it again)"
  fi
  for candidate in "${candidates[@]}"; do
    if python_fits "$candidate"; then
      ros=wheels python=$candidate
      return
    fi
  done
  fail "no Python 3.10 to 3.13 found (tried: ${candidates[*]})" \
    "Install one (Debian, Ubuntu: sudo apt install python3 python3-venv python3-dev) or name it with PYTHON=..."
}

check_machine() {
  local free_mb
  "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    fail "$python cannot make virtual environments" "Debian, Ubuntu: sudo apt install python3-venv"
  if [[ $ros == wheels ]]; then
    [[ $(uname -m) == x86_64 ]] ||
      fail "no ROS 2 is sourced, and PyPI has it for x86_64 only; this is $(uname -m)" \
        "Install ROS 2 and source it. To install only the core: pip install ."
    command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null ||
      fail "no C++ compiler found" "Debian, Ubuntu: sudo apt install g++"
    "$python" -c 'import os, sysconfig as s, sys; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' ||
      fail "the headers of $python are missing" "Debian, Ubuntu: sudo apt install python3-dev"
  fi
  free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
  [[ -d $VENV || $free_mb -ge $NEEDED_MB ]] ||
    fail "only $free_mb MB are free here, but $NEEDED_MB MB are needed" "Free some disk space."
}

# Whether the existing .venv was made here, with the chosen Python, for the chosen kind of ROS.
venv_fits() {
  local site=false
  [[ $ros == system ]] && site=true
  [[ $("$VENV/bin/python" -m pip --version 2>/dev/null) == *"(python $version)" ]] &&
    grep -qiF "include-system-site-packages = $site" "$VENV/pyvenv.cfg" &&
    grep -qF "$VENV" "$VENV/bin/activate"
}

make_venv() {
  if [[ $ros == system ]]; then
    "$python" -m venv --clear --system-site-packages "$VENV"
  else
    "$python" -m venv --clear "$VENV"
  fi
}

pip_install() {
  PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$VENV/bin/python" -m pip install --constraint constraints.txt "$@"
}

build_tf2_msgs() {
  local build=$PWD/build/tf2_msgs
  local -x PATH=$VENV/bin:$PATH AMENT_PREFIX_PATH=$VENV CMAKE_PREFIX_PATH=$VENV
  rm -rf "$build" &&
    cmake -S tools/tf2_msgs -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
      -DCMAKE_INSTALL_PREFIX="$VENV" -DPython3_EXECUTABLE="$VENV/bin/python" &&
    cmake --build "$build" && cmake --install "$build"
}

fetch_features() {
  "$VENV/bin/python" -m diff2i2p_core.cli.main weights fetch xfeat >>"$LOG" 2>&1 </dev/null ||
    echo "setup: XFeat's weights could not be fetched ($LOG says why); they will be fetched at first use" >&2
}

set_up() {
  local ros python version extras=train,viz,bags,e57,meshes,cluster,dev
  unset _ROS_WHEELS_BOOTSTRAP_COMPLETE # may be set by a parent process from another environment
  choose_python
  check_machine
  version=$(version_of "$python")
  if [[ $ros == wheels ]]; then
    extras+=,ros
  fi
  mkdir -p "${LOG%/*}"
  : >"$LOG"
  echo "setup: Python $version, ROS 2 $([[ $ros == system ]] && echo "$ROS_DISTRO, sourced" || echo "Jazzy from PyPI")"

  rm -f "$STAMP"
  venv_fits || step "virtual environment" make_venv
  step "installer" pip_install pip setuptools
  step "PyTorch" pip_install torch
  step "diff2i2p_core and its packages" pip_install --no-build-isolation --editable ".[$extras]"
  [[ $ros == system ]] || step "tf2_msgs (compiled)" build_tf2_msgs
  step "the ROS 2 node" pip_install --no-build-isolation --no-deps --editable "$NODE"
  step "first import" "$VENV/bin/python" -c "import torch, cv2, rclpy, tf2_msgs.msg, diff2i2p_core.cli.main"
  fetch_features
  fingerprint >"$STAMP.part"
  mv "$STAMP.part" "$STAMP"
  echo "setup: done in $SECONDS s; to use it, run: source .venv/bin/activate"
}

up_to_date && exit 0
exec 9<tools/setup.sh
flock 9 2>/dev/null || true # another set-up in this folder may be running: wait for it
up_to_date || set_up
