"""The command `diff2i2p`: one file a sub-command, registered in `main`."""
