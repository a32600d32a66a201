"""Settings of the localizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import PnpSettings

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class GateSettings:
    """What a pose must show to be believed."""

    min_correspondences: int = 40
    min_inliers: int = 60
    min_inlier_ratio: float = 0.3
    max_reprojection_error_px: float = 10.0
    """Root mean square over the inliers, in pixels of a 640 pixels wide image."""
    min_coverage: float = 0.4
    """Part of the image, in cells of an 8x6 grid, that must hold inliers: matches that agree in one corner
    alone often agree on a wrong pose. Not asked of a pose that a prior confirms."""
    min_agreement: float = 0.6
    """Correlation of the map's colours and the image's that confirms a pose, whatever its inliers."""
    min_compared: float = 0.4
    """Part of the image in which the map must have been drawn for that."""
    max_rival_support: float = 0.7
    """Without a prior: another submap's pose with more than this part of the inliers makes it ambiguous."""
    same_pose_distance: float = 0.5
    same_pose_angle_deg: float = 15.0
    """Poses within both limits (metres, degrees) are the same answer."""


@dataclass(frozen=True)
class ViewSettings:
    """Of matching with views rendered from the map."""

    glances: int = 48
    """Views, the most alike by their signatures, whose strongest features are compared."""
    glance_features: int = 400
    candidates: int = 10
    """Views that are matched, at most: those with most matches of these, or the nearest to a prior."""
    clear_inliers: int = 80
    """A view with so many is rendered again at once; the others are matched only if that fails."""
    refined: int = 5
    """Poses that are rendered again, at most."""
    renders: int = 2
    """Renders of one pose, at most, each from where the one before put the camera."""
    min_likeness: float = 0.82
    """Cosine of two descriptors that match."""
    max_error_px: float = 5.0
    """Reprojection error of an inlier, in pixels of the rendered view."""
    min_inliers: int = 40
    """Of a render at the pose itself: measured, right poses have 80 and more, wrong ones 20 at most."""
    min_inlier_ratio: float = 0.2
    min_coverage: float = 0.1
    """Part of the image, in cells of an 8x6 grid, that must hold inliers."""
    sigma_scale: float = 10.0
    """The standard deviations of PnP are multiplied by this: errors of the map, of its rendering and of the
    calibration move many matches alike."""


@dataclass(frozen=True)
class LocalizerSettings:
    candidates: int = 3
    """Submaps that are fully matched: the best by retrieval, or the nearest to a prior."""
    colored_candidates: int = 8
    """In a coloured map, where colours tell a right pose from a wrong one, so many are asked, one after the
    other, until one is found."""
    plain_inliers: int = 150
    plain_inlier_ratio: float = 0.4
    """A pose with so many inliers and this ratio is taken without asking a third candidate, or with a prior
    a second."""
    sigma_scale: float = 2.1
    sigma_exponent: float = 2.0
    """PnP's Hessian takes the inliers' errors as independent, but neighbouring matches err alike, and the
    more so the fewer are right: its standard deviations are multiplied by sigma_scale /
    inlier_ratio ** sigma_exponent. Both are calibrated on held-out images (docs/model_card.md)."""
    align: bool = True
    """Whether poses in a coloured map are aligned to the image's colours."""
    aligned_sigma_scale: float = 28.0
    """The like for aligned poses: the errors of pixels are far from independent."""
    prior_distance: float = 2.0
    """Metres, and degrees below: submaps whose view is farther from a prior are not near it."""
    prior_angle_deg: float = 60.0
    max_error_px: float = 12.0
    """Reprojection error of an inlier, in pixels of a 640 pixels wide image."""
    precision: Precision = "float32"
    """Of the image branch. Half precision is faster, but other pixels match: measured on RedKitchen, poses
    move by 0.4 mm (float16) or 0.9 mm (bfloat16) in the median; those that are not aligned to colours by 2.5
    and 7 mm. Their errors stay as large."""
    pnp: PnpSettings = field(default_factory=PnpSettings)
    """`max_error_px` of it is replaced by the one above."""
    gates: GateSettings = field(default_factory=GateSettings)
    """Of the network's poses; a rival's share, and what the same pose is, hold for all."""
    views: ViewSettings = field(default_factory=ViewSettings)

    def inlier_px(self, camera: Camera) -> float:
        """`max_error_px` in pixels of the camera's image."""
        return self.max_error_px * camera.width / 640


@dataclass(frozen=True)
class TrackerSettings:
    """How a camera is followed from image to image, and what its motion allows."""

    use_prior: bool = True
    """Whether accepted poses predict the next one; else every image is searched in the whole map."""
    misses: int = 1
    """After so many misses near the prediction in a row, an image is searched in the whole map: more would
    leave a carried robot lost for longer, and a miss costs as much time as a hit."""
    timeout_s: float = 2.0
    """Without odometry an older pose predicts nothing: by then a robot may be in another room."""
    jump_distance: float = 0.5
    """Metres, and degrees below, that an answer may be off its prediction even at once: the errors of two
    poses that were accepted rightly."""
    jump_angle_deg: float = 15.0
    max_speed: float = 2.0
    """Without odometry: metres a second by which the jump limit grows. Robots indoors and hand-held cameras
    stay below."""
    max_turn_rate_deg: float = 120.0
    odometry_drift: float = 0.1
    """With odometry: the part of the way, and of the turns, by which the jump limit grows. Wheels that slip
    and visual odometry stay below."""
    map_margin: float = 1.0
    """Metres a camera may be outside the box around the map's points and views."""
    max_age_s: float = 0.0
    """Images older than this when their turn comes are refused; 0: none is, as a recording's are all old."""
