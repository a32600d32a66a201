"""The Diff2I2P network (two backbones, fusion, coarse-to-fine matching, correspondence tuning) and XFeat."""
