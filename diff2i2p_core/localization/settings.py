"""Settings of the localizer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import PnpSettings

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class GateSettings:
    """Requirements for accepting a pose."""

    min_correspondences: int = 40
    min_inliers: int = 60
    min_inlier_ratio: float = 0.3
    max_reprojection_error_px: float = 10.0
    """Root mean square over the inliers, in pixels of an image 640 pixels wide."""
    min_coverage: float = 0.4
    """Minimum fraction of the cells of an 8x6 grid with inliers: matches that agree in only one corner often
    agree on a wrong pose. Not required if a prior confirms the pose."""
    min_agreement: float = 0.6
    """Minimum correlation of the colours of map and image that confirms a pose, whatever its inliers."""
    min_compared: float = 0.4
    """Minimum fraction of the image that must be compared for this."""
    max_rival_support: float = 0.7
    """Without a prior, a pose is ambiguous if a pose elsewhere has more than this fraction of its inliers."""
    same_pose_distance: float = 0.5
    same_pose_angle_deg: float = 15.0
    """Poses within both limits (metres, degrees) are the same answer."""


@dataclass(frozen=True)
class ViewSettings:
    """Settings for matching with views rendered from the map."""

    glances: int = 256
    """Number of views, the most similar by signature, whose strongest features are searched for."""
    glance_features: int = 300
    """Number of the image's strongest features for this, and of each view's below."""
    glance_view_features: int = 150
    compared: int = 48
    """Number of views, those with the most features in common, whose strongest features are matched."""
    compared_features: int = 400
    rough_features: int = 0
    """If not 0, as many are matched, and the strength of the pose counts, not the number of matches. For 40
    instead of 18 % of hololens_office's images, the first of 62 views then leads to the right pose."""
    candidates: int = 10
    """Maximum number of views to match fully, the first ones of these."""
    likely: int = 10
    """Number of these that are matched before any pose is rendered, and of those nearest to a prior."""
    clear_inliers: int = 80
    """A view this strong is rendered again at once. The others are matched only if that fails."""
    early_strength: float = 0.0
    """If none of the first is this strong, no pose is rendered before the others are matched."""
    least_inliers: int = 8
    """A view's pose with fewer inliers is not rendered. Measured: chance gives 7 in the median, views of the
    right place at least 10."""
    refined: int = 5
    """Maximum number of poses that are rendered again."""
    renders: int = 4
    """Maximum number of renders per pose, each from the pose that the previous one gave."""
    first_renders: int = 2
    """The same, if a search around the pose follows (`pose_search`)."""
    searched_agreement: float = 0.3
    """Minimum agreement of a pose around which is searched: of 95 % of those within a metre and 30 deg."""
    wandered_distance: float = 0.25
    wandered_angle_deg: float = 7.5
    """A pose is refused if the search around it moved it by more (metres, degrees): false ones in drawn rooms
    by 0.3 m and 8 deg, and more; 95 % of right ones by at most 0.15 m and 6 deg."""
    promising_inliers: int = 15
    """A pose with fewer inliers in a render is not rendered again. Right ones have at least 19."""
    plenty_inliers: int = 200
    """A pose with this many inliers in a render from nearby is not rendered again: within the distances
    below (metres, degrees). Measured: another render would not make it more accurate."""
    nearby_distance: float = 0.1
    nearby_angle_deg: float = 3.0
    restless_distance: float = float("inf")
    """Without a prior that agrees, a pose is refused if its last render moved it by more than this (metres,
    degrees): wrong poses seldom come to rest."""
    restless_angle_deg: float = float("inf")
    min_likeness: float = 0.82
    """Minimum cosine of two descriptors that match."""
    max_error_px: float = 5.0
    """Maximum reprojection error of an inlier, in pixels of the rendered view."""
    min_inliers: int = 60
    """For a render at the pose itself. Measured: right poses have at least 64, wrong ones at most 53."""
    min_inlier_ratio: float = 0.2
    min_coverage: float = 0.1
    """Minimum fraction of the cells of an 8x6 grid with inliers."""
    min_agreement: float = 0.45
    """Minimum fraction of the features of the render that are found where the pose predicts them, if that is
    compared (`local_agreement`). Then the next three limits replace the three above."""
    near_agreement: float = 0.4
    """For a pose near the prior: from this on, `agreed_inliers` replaces `near_inliers`."""
    near_least_agreement: float = 0.3
    """The minimum for it. Measured: an image of another place near a wrong prior had 161 inliers and 0.27."""
    agreed_inliers: int = 100
    agreed_coverage: float = 0.42
    agreed_spread: float = 0.25
    """Minimum product of agreement and coverage: the less the image agrees, the more of it must."""
    min_evidence: float = 85.0
    """Without a prior, minimum of inliers times agreement plus the votes of the views, all times the
    coverage. Measured: 600 images of other places have at most 82."""
    alone_rival: float = 0.5
    """A pose is alone if, after the whole search, no other pose has more than this fraction of its strength.
    Then the next limits replace those of agreement, coverage and their product."""
    alone_agreement: float = 0.35
    alone_coverage: float = 0.35
    max_sigma: float = float("inf")
    """Metres. Maximum standard deviation of the position, without a prior that agrees."""
    near_inliers: int = 60
    """`min_inliers` and `min_inlier_ratio` for a pose near the prior."""
    near_inlier_ratio: float = 0.2
    sigma_scale: float = 10.0
    """Factor on PnP's standard deviations, because errors of the map, of its rendering and of the calibration
    move many matches in the same way."""


def _shape_settings() -> ViewSettings:
    """For maps without colours and intensity. Their features are less distinct and less exact, so many more
    of them agree on a wrong pose, but not most.

    Measured in RedKitchen, the TUM places and unseen rooms: wrong poses that rest have at most 365 inliers,
    but all beyond half a metre have them in at most 0.42 of the cells. Near a random prior, images of other
    places have at most 58 inliers.
    """
    return ViewSettings(
        compared=100,
        rough_features=600,
        candidates=24,
        early_strength=40.0,
        refined=4,
        renders=4,
        promising_inliers=50,
        plenty_inliers=250,
        nearby_distance=0.05,
        nearby_angle_deg=1.5,
        restless_distance=0.15,
        restless_angle_deg=3.3,
        min_likeness=0.3,
        max_error_px=8.0,
        min_inliers=250,
        min_inlier_ratio=0.62,
        min_coverage=0.45,
        max_sigma=0.25,
        near_inliers=140,
        near_inlier_ratio=0.45,
    )


@dataclass(frozen=True)
class NearSettings:
    """Settings for matching near a prior, with renders that look little like images: a lidar's intensity.
    Lengths are in pixels of the render."""

    radius: float = 76.0
    """Around the predicted pixel: 7 degrees at the focal length of scans."""
    keypoints: int = 3000
    """Maximum number of the image's keypoints that are matched."""
    max_error_px: float = 6.0
    """Maximum reprojection error of an inlier."""
    max_metres: float = 1.0
    max_deg: float = 6.0
    """Maximum distance of a pose from the prior."""
    min_inliers: int = 40
    """Of the matches in a render from the prior. Measured: right poses have at least 48, wrong ones at most
    35."""
    min_inlier_ratio: float = 0.1
    min_agreement: float = 0.2
    """Minimum fraction of the patches of the map's intensity that agree with the image. Measured with more
    than 100 patches: right poses have at least 0.26, wrong ones at most 0.18."""
    min_significance: float = 4.2
    """By how many standard deviations more of them must agree than by chance, because of few patches, many
    can (`intensity_alignment`)."""
    sigma_scale: float = 12.0
    """Factor on the standard deviations, because errors of neighbouring points are alike."""


@dataclass(frozen=True)
class DepthSettings:
    """Settings for registering the query's depth to the map's surface."""

    starts: int = 40
    """Number of poses, the best by a distance field, that are registered with few points."""
    refined: int = 8
    """Number of these, the best, that are registered with all points."""
    min_agreement: float = 0.84
    """Minimum fraction of the depth that agrees with the map's, of that which agrees or contradicts."""
    min_known: float = 0.4
    """Minimum fraction of the depth that agrees or contradicts: with map at the pose."""
    min_closeness: float = 0.4
    """Minimum mean closeness of the depth's points to the surface: 1 on it, 0.6 at one standard deviation."""
    min_weak_closeness: float = 0.5
    weak: float = 0.06
    """The minimum for poses that the registration fixes less firmly than this. A floor and a wall fit in many
    places. Measured: foreign images that agree with a map have at most 0.38, weak ones 0.43."""
    min_weakest: float = 0.02
    """Minimum of the smallest eigenvalue of the registration, which is about 0.3 if all directions are fixed
    equally well. Noise of the normals alone gives about 0.01."""
    firm: float = 0.15
    """Below this, other poses in that direction are tried: `slides`, in metres."""
    slides: tuple[float, ...] = (-0.6, -0.3, -0.1, 0.1, 0.3, 0.6)
    max_rival_quality: float = 0.86
    rival_agreement: float = 0.7
    """A pose is ambiguous if one elsewhere has more than this fraction of its quality, and this agreement."""
    unclear_quality: float = 0.95
    unclear_distance: float = 0.2
    unclear_angle_deg: float = 8.0
    """A pose is ambiguous, too, if one farther away than this (metres, degrees) has this fraction of its
    quality."""
    contradiction: float = 0.3
    """A pose of an image's matches is refused if less than this fraction of the depth agrees there."""
    together_strength: float = 60.0
    """Minimum strength of an image's pose that is accepted together with the depth, in a map of shapes."""
    together_rival: float = 0.6
    """Maximum fraction of this for another pose."""
    sigma_scale: float = 18.0
    """Factor on the standard deviations: errors of neighbouring depths, and of the map, are alike."""


@dataclass(frozen=True)
class LocalizerSettings:
    candidates: int = 3
    """Number of submaps that are fully matched: the best by retrieval, or the nearest to a prior."""
    colored_candidates: int = 8
    """In a coloured map, where colours distinguish right from wrong poses: number of submaps that are tried
    one by one until a pose is confirmed."""
    plain_inliers: int = 150
    plain_inlier_ratio: float = 0.4
    """A pose with this many inliers and this ratio is accepted without trying a third candidate (with a
    prior: a second)."""
    sigma_scale: float = 2.1
    sigma_exponent: float = 2.0
    """PnP's Hessian assumes independent errors of the inliers, but the errors of neighbouring matches are
    similar, and more so if fewer matches are right. So the standard deviations are multiplied by sigma_scale
    / inlier_ratio ** sigma_exponent. Both values are calibrated on held-out images (docs/model_card.md)."""
    align: bool = True
    """Whether poses in a coloured map are aligned to the image's colours."""
    aligned_sigma_scale: float = 28.0
    """The same for aligned poses: the errors of pixels are far from independent."""
    prior_distance: float = 2.0
    """Metres, and degrees below. A submap is near a prior if its view is within both."""
    prior_angle_deg: float = 60.0
    max_error_px: float = 12.0
    """Maximum reprojection error of an inlier, in pixels of an image 640 pixels wide."""
    precision: Precision = "float32"
    """Precision of the image branch. Half precision is faster, but other pixels match. Measured on
    RedKitchen, poses change by 0.4 mm (float16) or 0.9 mm (bfloat16) in the median; those not aligned to
    colours by 2.5 and 7 mm. The size of their errors does not change."""
    pnp: PnpSettings = field(default_factory=PnpSettings)
    """Its `max_error_px` is replaced by the one above."""
    gates: GateSettings = field(default_factory=GateSettings)
    """For the network's poses. `max_rival_support` and the limits of the same pose are for all."""
    views: ViewSettings = field(default_factory=ViewSettings)
    shapes: ViewSettings = field(default_factory=_shape_settings)
    """Replaces `views` for a map whose views show only its shape."""
    near: NearSettings = field(default_factory=NearSettings)
    depth: DepthSettings = field(default_factory=DepthSettings)

    def for_look(self, look: str) -> LocalizerSettings:
        """With the `views` for a map whose views have this look."""
        return replace(self, views=self.shapes) if look == "geometry" else self

    def inlier_px(self, camera: Camera) -> float:
        """`max_error_px` in pixels of the camera's image."""
        return self.max_error_px * camera.width / 640


@dataclass(frozen=True)
class TrackerSettings:
    """How a camera is tracked from image to image, and which motion is possible."""

    use_prior: bool = True
    """Whether accepted poses predict the next one; else every image is searched in the whole map."""
    misses: int = 1
    """After this many consecutive misses near the prediction, the next image that is missed there is searched
    in the whole map, too. A larger number would leave a carried robot lost for longer."""
    timeout_s: float = 2.0
    """Without odometry, an older pose predicts nothing: the robot may be in another room by then."""
    jump_distance: float = 0.5
    """Metres, and degrees below, by which an answer may differ from its prediction even without motion: the
    errors of two correctly accepted poses."""
    jump_angle_deg: float = 15.0
    max_speed: float = 2.0
    """Without odometry: metres per second by which the jump limit grows. Robots indoors and hand-held cameras
    are slower."""
    max_turn_rate_deg: float = 120.0
    odometry_drift: float = 0.1
    """With odometry: the fraction of the distance, and of the rotation, by which the jump limit grows.
    Slipping wheels and visual odometry drift less."""
    map_margin: float = 1.0
    """Metres that a camera may be outside the bounding box of the map's points and views."""
    max_age_s: float = 0.0
    """Images older than this when they are processed are refused. 0: no limit, for recordings."""
