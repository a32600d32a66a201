"""Benchmarks of speed and memory. `PARTS` is the registry; each part is a module with a function `cases`."""

PARTS = {
    "network": "diff2i2p_core.benchmarks.network",
    "ops": "diff2i2p_core.benchmarks.ops",
    "maps": "diff2i2p_core.benchmarks.maps",
    "views": "diff2i2p_core.benchmarks.views",
    "training": "diff2i2p_core.benchmarks.training",
}
"""Names on the command line, and modules, which are imported when used."""
