"""Clouds are smoothed before a map is made of them, if their points are noisy."""

from __future__ import annotations

from collections.abc import Callable

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.smoothing import smoothed
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.looks import look_of
from diff2i2p_core.mapping.source import RENDER_SPACING
from diff2i2p_core.typing import Progress

_SHAPES, _OTHERS = 0.005, 0.012
"""Metres of noise from which on clouds are smoothed: those that only show shapes, and others. It is measured
where surfaces are flattest (`BlockCloud.spacing_and_noise`), and about half of the sensor's."""
_SPACING = 0.06
"""Metres. In clouds that are thinner, curved surfaces look like noise."""
_PER_NOISE, _PER_SPACING, _MOST = 8.0, 3.0, 0.2
"""Planes are fitted within a multiple of the noise, and of the spacing, but at most so many metres."""
_AGAIN = 0.5
"""Then once more within this fraction of it: planes around a point far off the surface lean towards it."""


def denoised(
    cloud: PointCloud, progress: Progress | None = None, note: Callable[[str], None] = lambda line: None
) -> PointCloud:
    """A cloud (not empty), smoothed and thinned if it is noisy, else itself. `note` is told if it is."""
    fine = cloud.thinned(RENDER_SPACING)
    spacing, noise = BlockCloud.of(fine).spacing_and_noise()
    if spacing > _SPACING or noise < (_SHAPES if look_of(cloud).of_shape else _OTHERS):
        return cloud
    note("the points are noisy, so they are smoothed")
    for part in (1.0, _AGAIN):
        radius = max(part * _PER_NOISE * noise, _PER_SPACING * spacing)
        fine = smoothed(fine, min(radius, _MOST), progress).thinned(RENDER_SPACING)
    return fine
