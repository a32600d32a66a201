"""ROS 2 node of Diff2I2P: a camera's pose in a point cloud map, from images.

One thread for numerical work: the node localizes one image at a time, beside a robot's other programs.
Threads that share an image wait for each other by spinning, and long if one of them does not get a core.
Libraries read these variables when they are loaded, so they are set before anything else is imported.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(_variable, "1")
