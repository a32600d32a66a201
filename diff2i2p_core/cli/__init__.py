"""The command `diff2i2p`: one file per sub-command, registered in `main`."""
