"""From a cloud and views to a map file: viewpoints, keyframes, blocks, submaps' features."""
