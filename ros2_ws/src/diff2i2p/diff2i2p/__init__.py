"""ROS 2 node of Diff2I2P: a camera's pose in a point cloud map, from images.

One thread for torch's and OpenCV's operations: the node runs beside a robot's other programs, and threads
that share an operation wait for each other by spinning, and long if one of them does not get a core. The core
uses a second thread for work that is independent (`diff2i2p_core.localization.beside`).
Libraries read these variables when they are loaded, so they are set before anything else is imported.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(_variable, "1")
