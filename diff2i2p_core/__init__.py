"""Diff2I2P: the 6-DoF pose of a camera in a point cloud map, from one image."""

__version__ = "0.1.0"
