"""The node's parameters in one typed table, which declarations, checks and documentation are made from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from diff2i2p_core.localization.settings import PRECISIONS, LocalizerSettings, Precision, TrackerSettings

LOCALIZER, TRACKER = LocalizerSettings(), TrackerSettings()
"""The node takes its defaults from these."""

TakesEffect = Literal["at once", "at configure", "at reload_map", "at start"]


def parameter(
    default: Any,
    description: str,
    *,
    takes_effect: TakesEffect = "at configure",
    at_least: float = 0,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """One row of the table. Numbers run from `at_least` to `at_most`; strings can be limited to `choices`."""
    metadata = {
        "description": description,
        "takes_effect": takes_effect,
        "at_least": at_least,
        "at_most": at_most,
        "choices": choices,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Parameters:
    """The values in use. Those that take effect at once can be replaced while the node runs."""

    map: str = parameter(
        "",
        "Map file made by `diff2i2p map build`. Empty: wait for a cloud on `map_cloud`",
        takes_effect="at reload_map",
    )
    matcher: str = parameter(
        "auto",
        "What images are matched with. `views`: views rendered from a map with colours or intensity; "
        "`network`: submaps of the network; `auto`: all that the map has, views first",
        choices=("auto", "views", "network"),
    )
    weights: str = parameter(
        "",
        "Weights file or name of shipped weights. Empty: the map's; for a map cloud `lite-rgb`, "
        "or `lite-geometry` if it has no colours",
    )
    device: str = parameter("cpu", "Where the network runs: `cpu`, `cuda` or `cuda:N`")
    map_frame: str = parameter("map", "Frame of the map; parent of the published transform")
    odom_frame: str = parameter("", "If set, publish `map_frame` -> `odom_frame`, using odometry from TF")
    base_frame: str = parameter(
        "", "If set, publish the pose of this frame; TF gives its offset from the camera"
    )
    camera_frame: str = parameter("", "Optical frame of the camera. Empty: the image's header.frame_id")
    publish_tf: bool = parameter(True, "Publish the transform as well as the pose")
    image_transport: str = parameter(
        "any",
        "Image topics to subscribe to. `any`: both; a stamp seen on one topic is skipped on the other",
        choices=("any", "raw", "compressed"),
    )
    image_is_rectified: bool = parameter(
        False, "The images are already rectified: use P of camera_info, not K and D"
    )
    use_depth: bool = parameter(
        False, "Subscribe to `depth`, registered to the image. Weights of the mode `rgbd` need it"
    )
    depth_tolerance: float = parameter(
        0.02,
        "Maximum seconds between an image and the depth image used with it",
        at_most=1,
        takes_effect="at once",
    )
    mode: str = parameter(
        "continuous",
        "`continuous`: always process the newest image; `on_request`: only for `~/localize_once`",
        choices=("continuous", "on_request"),
        takes_effect="at once",
    )
    map_up: str = parameter(
        "auto",
        "Axis of a map cloud that points up; used to choose viewpoints. `auto`: found from its planes",
        choices=("auto", "x", "y", "z", "-x", "-y", "-z"),
    )
    candidates: int = parameter(
        LOCALIZER.candidates,
        "Number of submaps that are fully matched with an image. More is slower but more reliable",
        at_least=1,
        at_most=100,
        takes_effect="at once",
    )
    precision: str = parameter(
        LOCALIZER.precision,
        "Precision of the network's image branch. Half precision is faster and changes poses by millimetres",
        choices=PRECISIONS,
        takes_effect="at once",
    )
    min_inliers: int = parameter(
        LOCALIZER.gates.min_inliers,
        "Minimum number of inliers for a pose to be published",
        at_most=10_000,
        takes_effect="at once",
    )
    min_inlier_ratio: float = parameter(
        LOCALIZER.gates.min_inlier_ratio,
        "Minimum fraction of inliers for a pose of the network to be published",
        at_most=1,
        takes_effect="at once",
    )
    max_reprojection_error_px: float = parameter(
        LOCALIZER.gates.max_reprojection_error_px,
        "Maximum root mean square error of the inliers, in pixels of an image 640 pixels wide",
        at_most=1000,
        takes_effect="at once",
    )
    align: bool = parameter(
        LOCALIZER.align,
        "In a coloured map, align poses to the image's colours",
        takes_effect="at once",
    )
    min_agreement: float = parameter(
        LOCALIZER.gates.min_agreement,
        "Minimum correlation between map and image colours that confirms a pose, whatever its inliers",
        at_most=1,
        takes_effect="at once",
    )
    use_prior: bool = parameter(
        TRACKER.use_prior,
        "Search near the last pose or /initialpose. false: search the whole map each time, accept jumps",
        takes_effect="at once",
    )
    prior_distance: float = parameter(
        LOCALIZER.prior_distance,
        "Maximum distance in metres from a prior to the submaps searched first",
        at_least=0.01,
        at_most=1000,
        takes_effect="at once",
    )
    prior_angle_deg: float = parameter(
        LOCALIZER.prior_angle_deg,
        "Maximum angle in degrees from a prior to the submaps searched first",
        at_least=0.1,
        at_most=180,
        takes_effect="at once",
    )
    prior_timeout: float = parameter(
        TRACKER.timeout_s,
        "Without odometry: seconds after which a pose is no longer used as a prior",
        at_most=3600,
        takes_effect="at once",
    )
    jump_distance: float = parameter(
        TRACKER.jump_distance,
        "Metres by which a pose may differ from its prediction; grows with `max_speed` or `odometry_drift`",
        at_most=1000,
        takes_effect="at once",
    )
    jump_angle_deg: float = parameter(
        TRACKER.jump_angle_deg,
        "The same limit in degrees; grows with `max_turn_rate_deg` or `odometry_drift`",
        at_most=180,
        takes_effect="at once",
    )
    max_speed: float = parameter(
        TRACKER.max_speed,
        "Without odometry: metres per second by which `jump_distance` grows",
        at_most=100,
        takes_effect="at once",
    )
    max_turn_rate_deg: float = parameter(
        TRACKER.max_turn_rate_deg,
        "Without odometry: degrees per second by which `jump_angle_deg` grows",
        at_most=1000,
        takes_effect="at once",
    )
    odometry_drift: float = parameter(
        TRACKER.odometry_drift,
        "With odometry: fraction of the distance and of the rotation by which the jump limits grow",
        at_most=1,
        takes_effect="at once",
    )
    map_margin: float = parameter(
        TRACKER.map_margin,
        "Metres that the camera may be outside the box around the map",
        at_most=1000,
        takes_effect="at once",
    )
    max_image_age: float = parameter(
        TRACKER.max_age_s,
        "Maximum age of an image in seconds. 0: no limit, for bags without `use_sim_time`",
        at_most=3600,
        takes_effect="at once",
    )
    transform_timeout: float = parameter(
        0.2,
        "Seconds to wait for odometry and robot transforms at the image's stamp",
        at_most=10,
        takes_effect="at once",
    )
    transform_tolerance: float = parameter(
        0.0,
        "Seconds added to the stamp of the published transform",
        at_most=10,
        takes_effect="at once",
    )
    transform_rate: float = parameter(
        10.0,
        "With `odom_frame`: how often per second the last transform is published again. 0: only with images",
        at_most=100,
        takes_effect="at once",
    )
    transform_hold: float = parameter(
        30.0,
        "Seconds after the last localized image during which its transform is published again",
        at_most=86_400,
        takes_effect="at once",
    )
    map_timeout: float = parameter(
        10.0,
        "Seconds without a map cloud before /diagnostics reports ERROR",
        at_most=3600,
        takes_effect="at once",
    )
    image_timeout: float = parameter(
        2.0,
        "Seconds without an image before /diagnostics reports WARN",
        at_most=3600,
        takes_effect="at once",
    )
    path_length: int = parameter(
        1000, "Maximum number of poses in `path`", at_least=1, at_most=100_000, takes_effect="at once"
    )
    initial_pose_file: str = parameter(
        "", "If set, the last pose is saved to this file (JSON) and is the first prior after a restart"
    )
    autostart: bool = parameter(
        True, "Configure and activate at start, without a lifecycle manager", takes_effect="at start"
    )

    def localizer_settings(self) -> LocalizerSettings:
        gates = replace(
            LOCALIZER.gates,
            min_inliers=self.min_inliers,
            min_inlier_ratio=self.min_inlier_ratio,
            max_reprojection_error_px=self.max_reprojection_error_px,
            min_agreement=self.min_agreement,
        )
        return replace(
            LOCALIZER,
            candidates=self.candidates,
            align=self.align,
            precision=cast(Precision, self.precision),
            prior_distance=self.prior_distance,
            prior_angle_deg=self.prior_angle_deg,
            gates=gates,
            views=replace(LOCALIZER.views, min_inliers=self.min_inliers),
        )

    def tracker_settings(self) -> TrackerSettings:
        return replace(
            TRACKER,
            use_prior=self.use_prior,
            timeout_s=self.prior_timeout,
            jump_distance=self.jump_distance,
            jump_angle_deg=self.jump_angle_deg,
            max_speed=self.max_speed,
            max_turn_rate_deg=self.max_turn_rate_deg,
            odometry_drift=self.odometry_drift,
            map_margin=self.map_margin,
            max_age_s=self.max_image_age,
        )
