"""Datasets, training pairs, the point pyramid and augmentation."""
