"""The main job on a sample, end to end: map, ROS 2 node, player and listener processes, comparison."""
