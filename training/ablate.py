"""`python training/ablate.py CONFIG [key=value ...] [--steps N --seeds N]`: the same as `diff2i2p ablate`."""

import sys

from diff2i2p_core.cli.main import run

if __name__ == "__main__":
    sys.argv.insert(1, "ablate")
    run()
