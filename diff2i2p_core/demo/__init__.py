"""Runs the ROS 2 node, a player and a listener as processes, for the demo and for live replays."""
