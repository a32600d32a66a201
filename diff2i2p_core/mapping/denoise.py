"""Clouds are smoothed before a map is made of them, if their points are noisy."""

from __future__ import annotations

from collections.abc import Callable

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.smoothing import smoothed
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.source import RENDER_SPACING
from diff2i2p_core.typing import Progress

_SHAPES, _OTHERS = 0.005, 0.012
"""Metres of noise from which on clouds are smoothed: those that only show shapes, and others. It is measured
where surfaces are flattest (`BlockCloud.spacing_and_noise`), and about half of the sensor's."""
_PER_NOISE, _MOST = 8.0, 0.2
"""Planes are fitted within a multiple of the noise, but at most so many metres."""
_SPACINGS = 3.0
"""Least radius in spacings: a smaller one holds too few points. Where a larger radius is needed than the
noise would give, more detail than noise was found to be lost."""
_AGAIN = 0.3
"""Then once more within this fraction of it: planes around a point far off the surface lean towards it."""


def denoised(
    cloud: PointCloud, progress: Progress | None = None, note: Callable[[str], None] = lambda line: None
) -> PointCloud:
    """A cloud (not empty), smoothed and thinned if it is noisy, else itself. `note` is told if it is."""
    spacing, noise = BlockCloud.of(cloud.thinned(RENDER_SPACING)).spacing_and_noise()
    radius, least = min(_PER_NOISE * noise, _MOST), _SPACINGS * spacing
    if noise < (_OTHERS if cloud.attributes else _SHAPES) or radius < least:
        return cloud
    note("the points are noisy, so they are smoothed")
    for within in (radius, max(_AGAIN * radius, least)):
        cloud = smoothed(cloud, within, progress).thinned(RENDER_SPACING)
    return cloud
