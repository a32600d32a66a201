"""`python training/prepare.py SOURCE SRC OUT`: the same as `diff2i2p prepare`."""

import sys

from diff2i2p_core.cli.main import run

if __name__ == "__main__":
    sys.argv.insert(1, "prepare")
    run()
