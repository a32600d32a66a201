"""What the node calls of ROS packages that PyPI does not have: same names, arguments and answers."""
