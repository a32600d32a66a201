"""`python training/eval.py CACHE [--test-epoch N]`: the same as `diff2i2p eval`."""

import sys

from diff2i2p_core.cli.main import run

if __name__ == "__main__":
    sys.argv.insert(1, "eval")
    run()
