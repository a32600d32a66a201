"""The node's parameters in one typed table, which declarations, checks and documentation are made from."""

from __future__ import annotations

from dataclasses import dataclass

from diff2i2p.parameter_row import parameter
from diff2i2p_core.localization.settings import PRECISIONS, LocalizerSettings, TrackerSettings

LOCALIZER, TRACKER = LocalizerSettings(), TrackerSettings()
"""The node takes its defaults from these."""

AHEAD = 0.1
"""Seconds. Consumers such as Nav2 then find map -> odom at the time of their newest odometry."""


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
        "`network`: submaps of the network; `depth`: the map's surface, for cameras with depth; `auto`: all "
        "that the map has, views first",
        choices=("auto", "views", "network", "depth"),
    )
    weights: str = parameter(
        "",
        "Weights file or name of shipped weights. Empty: the map's; for a map cloud `lite-rgb`, "
        "or `lite-geometry` if it has no colours",
    )
    device: str = parameter("cpu", "Where the network runs: `cpu`, `cuda` or `cuda:N`")
    map_frame: str = parameter("map", "Frame of the map; parent of the published transform")
    origin_frame: str = parameter(
        "utm",
        "For a map with an origin (`map build --origin`): frame of the coordinates that its cloud had; the "
        "parent of `map_frame` on /tf_static. Empty: not published",
    )
    odom_frame: str = parameter("", "If set, publish `map_frame` -> `odom_frame`, using odometry from TF")
    odometry_source: str = parameter(
        "tf",
        "With `odom_frame`: where odometry comes from. `topic`: nav_msgs/Odometry on `odom`, with "
        "the frames `odom_frame` and `base_frame`",
        choices=("tf", "topic"),
    )
    base_frame: str = parameter(
        "", "If set, publish the pose of this frame; TF gives its offset from the camera"
    )
    camera_frame: str = parameter("", "Optical frame of the camera. Empty: the image's header.frame_id")
    cameras: tuple[str, ...] = parameter(
        ("",),
        "Names of several cameras on `base_frame`, such as [front, left]. Each has topics of its own, "
        "`front/image`, `front/camera_info`, ..., and TF gives its offset. Empty: one camera, on `image` and "
        "`camera_info`",
    )
    sync_tolerance: float = parameter(
        0.02,
        "With `cameras`: images of different cameras at most this many seconds apart give one joint answer",
        at_most=1,
        takes_effect="at once",
    )
    publish_tf: bool = parameter(True, "Publish the transform as well as the pose")
    image_transport: str = parameter(
        "any",
        "Image topics to subscribe to. `any`: raw and compressed; a stamp seen on one topic is skipped on "
        "the other. `ffmpeg`: the video on `image/ffmpeg`",
        choices=("any", "raw", "compressed", "ffmpeg"),
    )
    image_is_rectified: bool = parameter(
        False, "The images are already rectified: use P of camera_info, not K and D"
    )
    use_depth: bool = parameter(
        False,
        "Subscribe to `depth`, registered to the image: it finds, refines and confirms poses in maps of all "
        "kinds. The matcher `depth` and weights of the mode `rgbd` need it",
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
        -1.0,
        "Seconds added to the stamp of the published transform. -1: 0.1 with `odom_frame`, 0 without",
        at_least=-1,
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
    min_image_rate: float = parameter(
        0.0,
        "Images per second; if fewer arrive, the status of the image topic is WARN. 0: any rate",
        at_most=1000,
        takes_effect="at once",
    )
    min_pose_rate: float = parameter(
        0.0,
        "Poses per second; if fewer are published, the status of the pose topic is WARN, without any ERROR. "
        "0: any rate",
        at_most=1000,
        takes_effect="at once",
    )
    path_length: int = parameter(
        1000, "Maximum number of poses in `path`", at_least=1, at_most=100_000, takes_effect="at once"
    )
    initial_pose: str = parameter(
        "",
        "If set, the first prior: pose of `base_frame`, or of the camera, in the map as `x,y,z,yaw` or "
        "`x,y,z,qx,qy,qz,qw` (metres, radians). A pose in `initial_pose_file` comes before it",
    )
    initial_pose_file: str = parameter(
        "", "If set, the last pose is saved to this file (JSON) and is the first prior after a restart"
    )
    autostart: bool = parameter(
        True, "Configure and activate at start, without a lifecycle manager", takes_effect="at start"
    )

    @property
    def tolerance(self) -> float:
        """`transform_tolerance` with its default."""
        if self.transform_tolerance >= 0:
            return self.transform_tolerance
        return AHEAD if self.odom_frame else 0.0
