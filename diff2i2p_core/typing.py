"""Types that many parts share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Progress = Callable[[str, int, int | None], None]
"""Called with (what is being done, done, total); the total is None as long as it is not known."""
