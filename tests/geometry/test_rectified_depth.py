"""Depth images and lenses."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import rectify_depth


def test_a_lens_is_removed_without_mixing_depths() -> None:
    camera = Camera(64, 48, 50, 50, 31.5, 23.5, "plumb_bob", (0.3, 0.0, 0.0, 0.0, 0.0))
    depth = np.ones((48, 64), np.float32)
    depth[:, 40:] = 3
    found = rectify_depth(depth, camera)
    assert set(np.unique(found)) <= {0, 1, 3}
    edge, middle = (int(np.argmax(found[row] > 2)) for row in (0, 24))
    assert edge < middle  # the lens moves the corners most


@pytest.mark.parametrize("distortion", [(), (0.3, 0.0, 0.0, 0.0, 0.0)])
def test_depth_of_another_size_is_refused(distortion: tuple[float, ...]) -> None:
    camera = Camera(64, 48, 50, 50, 31.5, 23.5, "plumb_bob", distortion)
    with pytest.raises(InputError, match=r"^depth: 32x24 pixels, but the calibration is for 64x48"):
        rectify_depth(np.ones((24, 32), np.float32), camera)
