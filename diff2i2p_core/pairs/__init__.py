"""Training and test pairs: targets, scene pairs, benchmark pairs, augmentation, loading."""
