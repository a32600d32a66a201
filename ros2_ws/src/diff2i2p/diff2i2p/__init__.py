"""ROS 2 node of Diff2I2P: a camera's pose in a point cloud map, as TF and PoseWithCovarianceStamped."""
