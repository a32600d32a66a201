"""Types used in many packages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Progress = Callable[[str, int, int | None], None]
"""Called with (task, done, total). The total is None while it is unknown."""
