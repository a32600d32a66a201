"""`python training/train.py CONFIG [key=value ...] [--resume]`: the same as `diff2i2p train`."""

import sys

from diff2i2p_core.cli.main import run

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    run()
