"""The node's parameters: one typed table, from which declarations, checks and documentation come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from diff2i2p_core.localization.settings import PRECISIONS, LocalizerSettings, Precision, TrackerSettings

LOCALIZER, TRACKER = LocalizerSettings(), TrackerSettings()
"""Their own defaults are the node's."""

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
    """A table row. Numbers run from `at_least` to `at_most`; strings may be limited to `choices`."""
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
    """Values in use. Those that take effect at once may be replaced while the node works."""

    map: str = parameter(
        "",
        "Map file of `diff2i2p map build`. Empty: wait for a cloud on `map_cloud`",
        takes_effect="at reload_map",
    )
    matcher: str = parameter(
        "auto",
        "What images are matched with: `views` rendered from a coloured map, the `network`'s submaps, or "
        "`auto`, all that the map allows, views first",
        choices=("auto", "views", "network"),
    )
    weights: str = parameter(
        "",
        "Weights file or name of shipped weights. Empty: the map's; for a cloud `lite-rgb`, "
        "or `lite-geometry` if it has no colours",
    )
    device: str = parameter("cpu", "Where the network runs: `cpu`, `cuda` or `cuda:N`")
    map_frame: str = parameter("map", "Frame of the map; parent of the published transform")
    odom_frame: str = parameter("", "If set, `map_frame` -> `odom_frame` is published, with odometry from TF")
    base_frame: str = parameter("", "If set, the pose is this frame's, found from the camera's through TF")
    camera_frame: str = parameter("", "Optical frame of the camera. Empty: the image's header.frame_id")
    publish_tf: bool = parameter(True, "Whether to publish the transform, beside the pose")
    image_transport: str = parameter(
        "any",
        "Which images to subscribe to; `any` takes both topics, a stamp seen on one is skipped on the other",
        choices=("any", "raw", "compressed"),
    )
    image_is_rectified: bool = parameter(
        False, "The images are rectified already: use P of camera_info, not K and D"
    )
    use_depth: bool = parameter(
        False, "Subscribe to `depth`, registered to the image; weights of the mode `rgbd` need it"
    )
    depth_tolerance: float = parameter(
        0.02,
        "Seconds between an image and the depth that is used with it, at most",
        at_most=1,
        takes_effect="at once",
    )
    mode: str = parameter(
        "continuous",
        "`continuous`: work on the newest image all the time; `on_request`: only on `~/localize_once`",
        choices=("continuous", "on_request"),
        takes_effect="at once",
    )
    map_up: str = parameter(
        "auto",
        "Which axis of a map cloud points up, for choosing viewpoints in it; `auto`: found from its planes",
        choices=("auto", "x", "y", "z", "-x", "-y", "-z"),
    )
    candidates: int = parameter(
        LOCALIZER.candidates,
        "Submaps that are fully matched with an image; more is surer and slower",
        at_least=1,
        at_most=100,
        takes_effect="at once",
    )
    precision: str = parameter(
        LOCALIZER.precision,
        "Of the network's image branch; half precision is faster and moves poses by millimetres",
        choices=PRECISIONS,
        takes_effect="at once",
    )
    min_inliers: int = parameter(
        LOCALIZER.gates.min_inliers,
        "Inliers that a pose needs to be published",
        at_most=10_000,
        takes_effect="at once",
    )
    min_inlier_ratio: float = parameter(
        LOCALIZER.gates.min_inlier_ratio,
        "Share of inliers that a pose needs to be published",
        at_most=1,
        takes_effect="at once",
    )
    max_reprojection_error_px: float = parameter(
        LOCALIZER.gates.max_reprojection_error_px,
        "Root mean square error of the inliers, at most, in pixels of a 640 pixels wide image",
        at_most=1000,
        takes_effect="at once",
    )
    align: bool = parameter(
        LOCALIZER.align,
        "Align poses in a coloured map to the image's colours",
        takes_effect="at once",
    )
    min_agreement: float = parameter(
        LOCALIZER.gates.min_agreement,
        "Correlation of the map's colours with the image's that confirms a pose, whatever its inliers",
        at_most=1,
        takes_effect="at once",
    )
    use_prior: bool = parameter(
        TRACKER.use_prior,
        "Search near the last pose or /initialpose; false: each image alone in the whole map, jumps pass",
        takes_effect="at once",
    )
    prior_distance: float = parameter(
        LOCALIZER.prior_distance,
        "Metres between a prior and the submaps searched first",
        at_least=0.01,
        at_most=1000,
        takes_effect="at once",
    )
    prior_angle_deg: float = parameter(
        LOCALIZER.prior_angle_deg,
        "Degrees between a prior and the submaps searched first",
        at_least=0.1,
        at_most=180,
        takes_effect="at once",
    )
    prior_timeout: float = parameter(
        TRACKER.timeout_s,
        "Seconds after which an old pose is no prior any more, where there is no odometry",
        at_most=3600,
        takes_effect="at once",
    )
    jump_distance: float = parameter(
        TRACKER.jump_distance,
        "Metres that a pose may be off where motion has brought the camera, even at once",
        at_most=1000,
        takes_effect="at once",
    )
    jump_angle_deg: float = parameter(
        TRACKER.jump_angle_deg, "The same in degrees", at_most=180, takes_effect="at once"
    )
    max_speed: float = parameter(
        TRACKER.max_speed,
        "Metres a second by which `jump_distance` grows without odometry",
        at_most=100,
        takes_effect="at once",
    )
    max_turn_rate_deg: float = parameter(
        TRACKER.max_turn_rate_deg,
        "Degrees a second by which `jump_angle_deg` grows without odometry",
        at_most=1000,
        takes_effect="at once",
    )
    odometry_drift: float = parameter(
        TRACKER.odometry_drift,
        "Share of the way and of the turns by which the jump limits grow with odometry",
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
        "Seconds after which an image is too old to be worked on; 0: never (bags without `use_sim_time`)",
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
        "Seconds by which the published transform is dated past the image's stamp",
        at_most=10,
        takes_effect="at once",
    )
    transform_rate: float = parameter(
        10.0,
        "With `odom_frame`: how often a second the last transform is published again; 0: only with images",
        at_most=100,
        takes_effect="at once",
    )
    transform_hold: float = parameter(
        30.0,
        "Seconds after the last localized image until which it is published again",
        at_most=86_400,
        takes_effect="at once",
    )
    map_timeout: float = parameter(
        10.0,
        "Seconds without a map cloud until /diagnostics says ERROR",
        at_most=3600,
        takes_effect="at once",
    )
    image_timeout: float = parameter(
        2.0,
        "Seconds without an image until /diagnostics says WARN",
        at_most=3600,
        takes_effect="at once",
    )
    path_length: int = parameter(
        1000, "Poses that `path` keeps, at most", at_least=1, at_most=100_000, takes_effect="at once"
    )
    initial_pose_file: str = parameter(
        "", "If set, the last pose is saved here (JSON) and is the first prior after a restart"
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
