"""Measures poses: the papers' protocol, trajectories, replays."""
