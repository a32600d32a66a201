"""ROS 2 bags: topics, messages and transforms, read without ROS."""
