"""`python training/test.py CONFIG [--checkpoint W | --test-epoch N]`: the same as `diff2i2p test`."""

import sys

from diff2i2p_core.cli.main import run

if __name__ == "__main__":
    sys.argv.insert(1, "test")
    run()
