"""The parameter table on a ROS node: declared, read, changed at run time, and documented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, fields, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from diff2i2p.parameters import Parameters
from diff2i2p_core.errors import InputError

ROWS = {row.name: row for row in fields(Parameters)}
FRAMES = ("map_frame", "odom_frame", "base_frame", "camera_frame", "origin_frame")
CONFIGURE_AGAIN = "deactivate and clean the node up first (`ros2 lifecycle set`), then configure it again"


def declare(node: Node) -> None:
    """Declare every parameter with its description and range. rclpy's exceptions name an invalid value."""
    for row in ROWS.values():
        node.declare_parameter(row.name, row.default, _descriptor(row))


def read(node: Node) -> Parameters:
    """The current values, checked against each other."""
    values = {name: node.get_parameter(name).value for name in ROWS}
    for name, value in values.items():
        _check_choice(name, value)
    for name in FRAMES:
        values[name] = values[name].removeprefix("/")
    if not values["map_frame"]:
        raise InputError("parameter map_frame: it is empty; set it to the map's frame")
    used = [values[name] for name in FRAMES]
    for name in ("map_frame", "odom_frame"):
        if values[name] and used.count(values[name]) > 1:
            raise InputError(f"parameter {name}: '{values[name]}' is also another frame's name; rename one")
    _check_cameras(values)
    return Parameters(**values)


def _check_cameras(values: dict[str, Any]) -> None:
    """Make a tuple of the names of several cameras; refuse what does not go with them."""
    values["cameras"] = names = tuple(name.strip("/") for name in values["cameras"] if name.strip("/"))
    if len(set(names)) < len(names):
        raise InputError(f"parameter cameras: {list(names)} has a name twice; give each camera its own")
    if names and not values["base_frame"]:
        raise InputError("parameter cameras: set base_frame, too: the frame that the cameras are mounted on")
    if names and values["camera_frame"]:
        raise InputError(
            "parameter camera_frame: with cameras, each image's header names its frame; leave it empty"
        )


def changed(current: Parameters | None, changes: Sequence[Parameter], node: Node) -> Parameters | None:
    """The values in use after `changes`: either all are accepted, or none and InputError is raised.

    `current` is None while the node is unconfigured: then everything may change, and is read later.
    Parameters of others (use_sim_time, qos_overrides) are ignored. rclpy has checked types, ranges and
    read-only parameters.
    """
    new_values = {change.name: change.value for change in changes if change.name in ROWS}
    for name, value in new_values.items():
        _check_choice(name, value)
        frozen = ROWS[name].metadata["takes_effect"] == "at configure"
        if current is not None and frozen and value != node.get_parameter(name).value:
            raise InputError(f"parameter {name} is in use; {CONFIGURE_AGAIN}")
    if current is None:
        return None
    at_once = {
        name: value for name, value in new_values.items() if ROWS[name].metadata["takes_effect"] == "at once"
    }
    return replace(current, **at_once)


def markdown_table() -> str:
    """The table of docs/ros2.md."""
    lines = [
        "| parameter | type | default | range | a change takes effect | meaning |",
        "|---|---|---|---|---|---|",
    ]
    names = {bool: "bool", str: "string", int: "integer", float: "double", tuple: "string array"}
    for row in ROWS.values():
        default = str(row.default).lower() if isinstance(row.default, bool) else row.default
        shown = f"`{default}`" if default not in ("", ("",)) else "empty"
        about = row.metadata
        cells = (f"`{row.name}`", names[type(row.default)], shown, _range(row))
        lines.append(f"| {' | '.join((*cells, about['takes_effect'], about['description']))} |")
    return "\n".join(lines) + "\n"


def _check_choice(name: str, value: Any) -> None:
    choices = ROWS[name].metadata["choices"]
    if choices and value not in choices:
        raise InputError(f"parameter {name}: '{value}' is not one of {', '.join(choices)}")


def _descriptor(row: Field[Any]) -> ParameterDescriptor:
    about = row.metadata
    descriptor = ParameterDescriptor(description=about["description"])
    descriptor.read_only = about["takes_effect"] == "at start"
    constraints = [f"One of: {_range(row)}."] if about["choices"] else []
    constraints.append(f"A change takes effect {about['takes_effect']}.")
    descriptor.additional_constraints = " ".join(constraints)
    if about["at_most"] is not None:
        low, high = about["at_least"], about["at_most"]
        if isinstance(row.default, int):
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
    return descriptor


def _range(row: Field[Any]) -> str:
    if row.metadata["choices"]:
        return ", ".join(row.metadata["choices"])
    low, high = row.metadata["at_least"], row.metadata["at_most"]
    return "" if high is None else f"{low} to {high}"
