"""Speed of the parts. `PARTS` is the registry: a part is a module here with a function `cases()`."""

PARTS = {
    "network": "diff2i2p_core.benchmarks.network",
    "ops": "diff2i2p_core.benchmarks.ops",
    "maps": "diff2i2p_core.benchmarks.maps",
    "views": "diff2i2p_core.benchmarks.views",
    "training": "diff2i2p_core.benchmarks.training",
}
"""Name on the command line: module, imported when it is asked for."""
