"""Whether a pose is to be believed, and if not, why not."""

from __future__ import annotations

from diff2i2p_core.localization.settings import GateSettings


def rejection(
    num_correspondences: int,
    num_inliers: int,
    reprojection_error_px: float,
    settings: GateSettings,
    pixel_scale: float = 1.0,
) -> str:
    """The reason to reject a pose, or "" to accept it; `pixel_scale` is the image's width / 640."""
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
    return ""
