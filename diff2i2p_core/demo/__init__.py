"""The ROS 2 node, a player and a listener as processes: the demo on a sample, and replays of bags."""
