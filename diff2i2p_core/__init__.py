"""Diff2I2P: the 6-DoF pose of a camera in a point cloud map, from one image.

The names below are the public interface. Each is imported when it is first used, so importing the package
loads neither torch nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diff2i2p_core.demo.replay_run import replay
    from diff2i2p_core.errors import InputError
    from diff2i2p_core.evaluation.replay_settings import ReplaySettings
    from diff2i2p_core.evaluation.replay_truth import TruthSource
    from diff2i2p_core.geometry.camera import Camera
    from diff2i2p_core.geometry.point_cloud import PointCloud
    from diff2i2p_core.geometry.rig import RigCamera
    from diff2i2p_core.io.clouds import read_cloud
    from diff2i2p_core.io.rgbd_folder import PosedFrames
    from diff2i2p_core.localization.localizer import Localizer
    from diff2i2p_core.localization.register import register
    from diff2i2p_core.localization.result import Localization
    from diff2i2p_core.localization.rig_result import RigLocalization
    from diff2i2p_core.localization.settings import LocalizerSettings
    from diff2i2p_core.localization.tracker import Tracker
    from diff2i2p_core.mapping.build_file import build_map
    from diff2i2p_core.mapping.map_file import PointMap

__version__ = "0.1.0"

_HOMES = {
    "Camera": "geometry.camera",
    "InputError": "errors",
    "Localization": "localization.result",
    "Localizer": "localization.localizer",
    "LocalizerSettings": "localization.settings",
    "PointCloud": "geometry.point_cloud",
    "PointMap": "mapping.map_file",
    "PosedFrames": "io.rgbd_folder",
    "ReplaySettings": "evaluation.replay_settings",
    "RigCamera": "geometry.rig",
    "RigLocalization": "localization.rig_result",
    "Tracker": "localization.tracker",
    "TruthSource": "evaluation.replay_truth",
    "build_map": "mapping.build_file",
    "read_cloud": "io.clouds",
    "register": "localization.register",
    "replay": "demo.replay_run",
}
"""The module of this package in which each public name is defined."""

__all__ = [
    "Camera",
    "InputError",
    "Localization",
    "Localizer",
    "LocalizerSettings",
    "PointCloud",
    "PointMap",
    "PosedFrames",
    "ReplaySettings",
    "RigCamera",
    "RigLocalization",
    "Tracker",
    "TruthSource",
    "build_map",
    "read_cloud",
    "register",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diff2i2p_core' has no attribute '{name}'")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # so this function is not called for it again
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
