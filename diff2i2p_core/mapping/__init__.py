"""Clouds, fused maps, submaps and map files."""
