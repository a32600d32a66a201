"""The last pose on disk, so that a restarted node knows where to search first."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from geometry_msgs.msg import Point, Pose, PoseWithCovarianceStamped, Quaternion

from diff2i2p.parameters import Parameters
from diff2i2p.poses import Matrix, matrix_from_pose
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import check_output, write_text

CAMERA = "camera"
"""The body of a pose if no base_frame is given."""


class PoseFile:
    """The file that the parameter `initial_pose_file` names."""

    def __init__(self, parameters: Parameters) -> None:
        """InputError if the file could not be written later."""
        self.path = Path(parameters.initial_pose_file).expanduser()
        try:
            check_output(self.path, [parameters.map or None])
        except InputError as error:
            raise InputError(f"parameter initial_pose_file: {error}") from None
        self._parameters = parameters
        self._restored = False
        self._last: PoseWithCovarianceStamped | None = None
        self._when = time.monotonic()

    def is_due(self, pose: PoseWithCovarianceStamped | None, period: float) -> bool:
        """Whether there is an unsaved pose, and the last attempt was at least `period` seconds ago."""
        return pose is not None and pose is not self._last and time.monotonic() - self._when >= period

    def save(self, pose: PoseWithCovarianceStamped, map_name: str) -> None:
        """InputError if the file cannot be written."""
        self._last, self._when = pose, time.monotonic()
        try:
            save_pose(self.path, pose, self._parameters, map_name)
        except OSError as error:
            fault = f"{self.path}: cannot be written ({error.strerror}); change initial_pose_file"
            raise InputError(fault) from None

    def restore(self, map_name: str) -> Matrix | None:
        """(4, 4) map_from_body for the first map in use. None without a file, or for a later map."""
        if self._restored:
            return None
        self._restored = True
        return load_pose(self.path, self._parameters, map_name)


def save_pose(path: Path, pose: PoseWithCovarianceStamped, parameters: Parameters, map_name: str) -> None:
    """Write map_from_body and what it is valid for. OSError if the file cannot be written."""
    p, q = pose.pose.pose.position, pose.pose.pose.orientation
    content = {
        "map": map_name,
        "map_frame": parameters.map_frame,
        "body": parameters.base_frame or CAMERA,
        "position": [p.x, p.y, p.z],
        "orientation": [q.x, q.y, q.z, q.w],
        "stamp": [pose.header.stamp.sec, pose.header.stamp.nanosec],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def load_pose(path: Path, parameters: Parameters, map_name: str) -> Matrix | None:
    """(4, 4) map_from_body; None without a file. InputError if it is damaged or belongs to another map."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        position, orientation = _numbers(content["position"], 3), _numbers(content["orientation"], 4)
        saved = tuple(str(content[key]) for key in ("map", "map_frame", "body"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); change initial_pose_file") from None
    except (ValueError, KeyError, TypeError):  # JSON and UTF-8 faults are ValueErrors
        raise InputError(f"{path}: not a saved pose; delete it") from None
    wanted = (map_name, parameters.map_frame, parameters.base_frame or CAMERA)
    for what, now, then in zip(("map", "map_frame", "base_frame"), wanted, saved, strict=True):
        if now != then:
            raise InputError(f"{path}: saved with {what} '{then}', now it is '{now}'; the pose is not used")
    pose = Pose(position=Point(), orientation=Quaternion())
    pose.position.x, pose.position.y, pose.position.z = position
    q = pose.orientation
    q.x, q.y, q.z, q.w = orientation
    return matrix_from_pose(pose, str(path))


def _numbers(values: list[float], count: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers
