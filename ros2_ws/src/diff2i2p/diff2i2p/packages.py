"""Chooses ROS packages: the installed one, or the stand-in of the same name in `standins`.

ROS installations have them all; ROS 2 from PyPI has none of them.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from diff2i2p_core.errors import reason

FAULTS: dict[str, str] = {}
"""Installed packages that do not work, with the reason; their stand-ins are used."""

TRIALS = {
    "cv_bridge": (
        "from sensor_msgs.msg import Image; from cv_bridge import CvBridge; bridge = CvBridge();"
        "image = Image(height=1, width=1, encoding='bgr8', step=3, data=bytes(3));"
        "bridge.cv2_to_imgmsg(bridge.imgmsg_to_cv2(image, 'rgb8'), 'rgb8')"
    ),
    "tf_transformations": (
        "import numpy, tf_transformations as tf;"
        "tf.quaternion_from_matrix(numpy.asarray(tf.quaternion_matrix([0.0, 0.0, 0.0, 1.0])))"
    ),
}
"""First uses of packages that may not fit the installed numpy. Compiled ones end the process then, so each is
tried in a process of its own."""


@cache
def package(name: str) -> Any:
    """The module `name`, or its stand-in if that is not installed or fails at its first use."""
    standin = f"diff2i2p.standins.{name.rpartition('.')[2]}"
    if find_spec(name.partition(".")[0]) is None:
        return import_module(standin)
    if fault := _fault(name):
        FAULTS[name] = fault
        return import_module(standin)
    return import_module(name)


def _fault(name: str) -> str:
    """Why the installed package cannot be used; empty if it can."""
    if name in TRIALS:
        command = [sys.executable, "-c", TRIALS[name]]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if tried.returncode:
            last = (tried.stderr.strip().splitlines() or [""])[-1]
            return f"it crashes (signal {-tried.returncode})" if tried.returncode < 0 else last
    try:
        import_module(name)
    except Exception as error:
        return reason(error)
    return ""
