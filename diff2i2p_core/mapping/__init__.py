"""From a cloud and views to a map file: viewpoints, keyframes, blocks, features of submaps and views."""
