"""Decides whether to accept a pose, and gives the reason if not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.se3 import is_near
from diff2i2p_core.localization.intensity_alignment import IntensityAlignment
from diff2i2p_core.localization.settings import GateSettings, NearSettings, ViewSettings
from diff2i2p_core.typing import Array

_CELLS = (8, 6)
"""Columns and rows of the grid that measures the spread of the inliers."""


def coverage(pixels: NDArray[np.float64], width: int, height: int) -> float:
    """The fraction of the image's cells that contain any of the pixels (N, 2)."""
    cells = np.floor((pixels + 0.5) / [width, height] * _CELLS).clip(0, np.array(_CELLS) - 1)
    return len(np.unique(cells, axis=0)) / (_CELLS[0] * _CELLS[1])


def contributing(inliers: Sequence[int], matches: Sequence[int], min_inlier_ratio: float) -> list[bool]:
    """Which cameras of a rig support a pose: those that would have enough inliers among their matches. The
    matches of the others are wrong, such as those of a blank wall."""
    return [
        count > 0 and count >= min_inlier_ratio * total for count, total in zip(inliers, matches, strict=True)
    ]


def is_same_pose(a: Array, b: Array, settings: GateSettings) -> bool:
    """Whether two poses (4, 4) count as the same answer."""
    return is_near(a, b, settings.same_pose_distance, settings.same_pose_angle_deg)


class Supported(Protocol):
    """A hypothesis about a camera or a rig."""

    @property
    def support(self) -> int: ...

    @property
    def strength(self) -> float: ...

    @property
    def pose(self) -> Array | None: ...


H = TypeVar("H", bound=Supported)


def rivals(pose: Array, strength: float, ranked: Sequence[H], gates: GateSettings) -> Iterator[H]:
    """Hypotheses with another pose that are nearly as strong."""
    for other in ranked:
        if other.pose is None or is_same_pose(pose, other.pose, gates):
            continue
        if other.strength > gates.max_rival_support * strength:
            yield other


def rejection(
    num_correspondences: int,
    num_inliers: int,
    reprojection_error_px: float,
    inlier_coverage: float,
    settings: GateSettings,
    pixel_scale: float = 1.0,
) -> str:
    """The reason to reject a pose, or "" to accept it.

    `inlier_coverage` is from `coverage`; `pixel_scale` is the image's width / 640.
    """
    if num_correspondences < settings.min_correspondences:
        return f"too few correspondences ({num_correspondences}, need {settings.min_correspondences})"
    if num_inliers < settings.min_inliers:
        return f"too few inliers ({num_inliers}, need {settings.min_inliers})"
    ratio = num_inliers / num_correspondences
    if ratio < settings.min_inlier_ratio:
        return f"low inlier ratio ({ratio:.2f}, need {settings.min_inlier_ratio:.2f})"
    limit = settings.max_reprojection_error_px * pixel_scale
    if reprojection_error_px > limit:
        return f"high reprojection error ({reprojection_error_px:.1f} px, at most {limit:.1f})"
    if inlier_coverage < settings.min_coverage:
        return (
            f"low coverage (inliers in {inlier_coverage:.2f} of the image, need {settings.min_coverage:.2f})"
        )
    return ""


def doubtful(agreement: float, views: ViewSettings, *, agrees: bool, alone: bool) -> str:
    """The reason to reject a pose by its local agreement, or "" to accept it. `agrees`: it does with a prior;
    `alone`: it has no rival."""
    least = views.alone_agreement if alone else views.min_agreement
    if agrees:
        least = views.near_least_agreement
    if agreement >= least:
        return ""
    return f"low agreement ({agreement:.2f} of the features as predicted, need {least})"


def weak(evidence: float, least: float) -> str:
    """The reason to reject a pose by its strength, votes and spread, or "" to accept it."""
    return "" if evidence >= least else f"weak (evidence {evidence:.0f}, need {least:.0f})"


def disagreement(alignment: IntensityAlignment, settings: NearSettings) -> str:
    """The reason to reject a pose that was aligned to the map's intensity, or "" to accept it."""
    if alignment.agreement >= settings.min_agreement and alignment.significance >= settings.min_significance:
        return ""
    counts = f"{alignment.agreeing} of {alignment.patches} patches, hardly more than by chance"
    return f"low agreement with the map's intensity ({counts})"
