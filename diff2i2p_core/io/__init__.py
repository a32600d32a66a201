"""Reads and writes files without torch: RGB-D folders, trajectories, clouds, tensor files, safe pickles."""
