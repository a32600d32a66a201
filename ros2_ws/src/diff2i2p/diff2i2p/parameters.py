"""The node's parameters: one typed table, from which declarations, checks and documentation come."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from diff2i2p_core.errors import InputError
from diff2i2p_core.localization.settings import LocalizerSettings

LOCALIZER = LocalizerSettings()
"""The localizer's own defaults are the node's."""


def parameter(
    default: Any,
    description: str,
    *,
    at_least: float = 0,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A table row. Numbers run from `at_least` to `at_most`; strings may be limited to `choices`."""
    metadata = {"description": description, "at_least": at_least, "at_most": at_most, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Parameters:
    """Values as they were when the node was configured; a change takes effect at the next configure."""

    map: str = parameter("", "Map file of `diff2i2p map build`. Empty: wait for a cloud on `map_cloud`")
    weights: str = parameter("", "Weights file or name of shipped weights. Empty: the map's, else `lite-rgb`")
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
    map_up: str = parameter(
        "z",
        "Which axis of a map cloud points up; for choosing viewpoints in it",
        choices=("x", "y", "z", "-x", "-y", "-z"),
    )
    candidates: int = parameter(
        LOCALIZER.candidates,
        "Submaps that are fully matched with an image; more is surer and slower",
        at_least=1,
        at_most=100,
    )
    min_inliers: int = parameter(
        LOCALIZER.gates.min_inliers, "Inliers that a pose needs to be published", at_most=10_000
    )
    min_inlier_ratio: float = parameter(
        LOCALIZER.gates.min_inlier_ratio, "Share of inliers that a pose needs to be published", at_most=1
    )
    max_reprojection_error_px: float = parameter(
        LOCALIZER.gates.max_reprojection_error_px,
        "Root mean square error of the inliers, at most, in pixels of a 640 pixels wide image",
        at_most=1000,
    )
    use_prior: bool = parameter(True, "Search near the last pose or /initialpose first, not in the whole map")
    prior_distance: float = parameter(
        LOCALIZER.prior_distance, "Metres between a prior and the submaps searched first", at_most=1000
    )
    prior_angle_deg: float = parameter(
        LOCALIZER.prior_angle_deg, "Degrees between a prior and the submaps searched first", at_most=180
    )
    prior_timeout: float = parameter(
        2.0, "Seconds after which an old pose is no prior any more", at_most=3600
    )
    transform_timeout: float = parameter(
        0.2, "Seconds to wait for odometry and robot transforms at the image's stamp", at_most=10
    )
    transform_tolerance: float = parameter(
        0.0, "Seconds by which the published transform is dated past the image's stamp", at_most=10
    )
    map_timeout: float = parameter(
        10.0, "Seconds without a map cloud until /diagnostics says ERROR", at_most=3600
    )
    image_timeout: float = parameter(
        2.0, "Seconds without an image until /diagnostics says WARN", at_most=3600
    )
    autostart: bool = parameter(True, "Configure and activate at start, without a lifecycle manager")

    def localizer_settings(self) -> LocalizerSettings:
        gates = replace(
            LOCALIZER.gates,
            min_inliers=self.min_inliers,
            min_inlier_ratio=self.min_inlier_ratio,
            max_reprojection_error_px=self.max_reprojection_error_px,
        )
        return replace(
            LOCALIZER,
            candidates=self.candidates,
            prior_distance=self.prior_distance,
            prior_angle_deg=self.prior_angle_deg,
            gates=gates,
        )


def declare(node: Node) -> None:
    """Declare every parameter with its description and range; rclpy's exceptions name a misfit."""
    for row in fields(Parameters):
        node.declare_parameter(row.name, row.default, _descriptor(row))


def read(node: Node) -> Parameters:
    """The current values, checked against each other."""
    values = {row.name: node.get_parameter(row.name).value for row in fields(Parameters)}
    for row in fields(Parameters):
        choices = row.metadata["choices"]
        if choices and values[row.name] not in choices:
            raise InputError(f"parameter {row.name}: '{values[row.name]}' is not one of {', '.join(choices)}")
    frames = ("map_frame", "odom_frame", "base_frame", "camera_frame")
    for name in frames:
        values[name] = values[name].removeprefix("/")
    if not values["map_frame"]:
        raise InputError("parameter map_frame: it is empty; name the map's frame")
    used = [values[name] for name in frames]
    for name in ("map_frame", "odom_frame"):
        if values[name] and used.count(values[name]) > 1:
            raise InputError(f"parameter {name}: '{values[name]}' is also another frame's name; rename one")
    return Parameters(**values)


def markdown_table() -> str:
    """The table of docs/ros2.md."""
    lines = ["| parameter | type | default | range | meaning |", "|---|---|---|---|---|"]
    names = {bool: "bool", str: "string", int: "integer", float: "double"}
    for row in fields(Parameters):
        default = str(row.default).lower() if isinstance(row.default, bool) else row.default
        shown = f"`{default}`" if default != "" else "empty"
        cells = (f"`{row.name}`", names[type(row.default)], shown, _range(row), row.metadata["description"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _descriptor(row: Field[Any]) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=row.metadata["description"])
    if row.metadata["at_most"] is not None:
        low, high = row.metadata["at_least"], row.metadata["at_most"]
        if isinstance(row.default, int):
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
    if row.metadata["choices"]:
        descriptor.additional_constraints = _range(row)
    return descriptor


def _range(row: Field[Any]) -> str:
    if row.metadata["choices"]:
        return ", ".join(row.metadata["choices"])
    low, high = row.metadata["at_least"], row.metadata["at_most"]
    return "" if high is None else f"{low} to {high}"
