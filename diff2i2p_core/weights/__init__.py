"""Loads weights: from files, shipped, published or downloaded. Names of the released checkpoints."""
