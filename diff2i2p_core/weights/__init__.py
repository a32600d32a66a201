"""Where weights come from: files, shipped, published, downloaded; names of the released checkpoints."""
