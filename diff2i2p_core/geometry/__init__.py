"""Rigid transforms, cameras, depth images and poses. NumPy float64 unless a name says torch."""
