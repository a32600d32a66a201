"""Files in and out, without torch: RGB-D folders, trajectories, clouds, tensor files, safe pickles."""
