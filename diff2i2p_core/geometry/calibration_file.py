"""Calibration files in YAML, of ROS and of other tools.

These are read: ROS's camera_info YAML as camera_calibration writes it, a CameraInfo message as printed by
`ros2 topic echo`, OpenCV's FileStorage, a Kalibr camchain of one camera, and EuRoC's sensor.yaml.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError, quoted
from diff2i2p_core.geometry.calibration import Calibration
from diff2i2p_core.geometry.distortion import COEFFICIENTS, SYNONYMS

WIDTH, HEIGHT, MATRIX, COEFFICIENT, MODEL, PROJECTION = NAMES = (
    ("imagewidth", "width"),
    ("imageheight", "height"),
    ("cameramatrix", "k"),
    ("distortioncoefficients", "distortioncoeffs", "distcoeffs", "distcoeff", "distortion", "dist", "d"),
    ("distortionmodel",),
    ("projectionmatrix", "p"),
)
"""The keys of each value, in lower case and without underscores."""
NOT_READ = {
    "camera.fx": "ORB-SLAM",
    "camera1.fx": "ORB-SLAM3",
    "projectionparameters": "camodocal (VINS)",
}
"""A key of other calibrations, and whose they are."""


class _Loader(yaml.SafeLoader):
    """YAML with OpenCV's tag for matrices."""


def _opencv_matrix(loader: yaml.SafeLoader, node: Any) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _opencv_matrix)


def read_calibration(path: Path | str) -> Calibration:
    """The calibration in a YAML file.

    Raises:
        InputError: there is none, or that of several cameras. The message does not name the path.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        # OpenCV writes %YAML:1.0, which is no valid directive.
        documents = yaml.load_all(re.sub(r"\A%YAML:.*", "", text), _Loader)
        # A recorded topic can begin with messages of an uncalibrated camera, so the last one counts.
        content = [document for document in documents if document][-1]
        return _calibration(_one_camera({_plain(key): value for key, value in content.items()}))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); give a camera_info YAML") from None
    except (
        yaml.YAMLError,
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        RecursionError,
    ) as error:
        what = error if isinstance(error, KeyError) else type(error).__name__
        raise InputError(
            f"not a camera_info YAML ({what}); it needs image_width, image_height, camera_matrix"
        ) from None


def _plain(key: Any) -> str:
    return str(key).lower().replace("_", "")


def _one_camera(content: dict[str, Any]) -> dict[str, Any]:
    """The values of the camera, by plain keys."""
    for key, whose in NOT_READ.items():
        if key in content:
            raise InputError(f"is a calibration of {whose}, which is not read; give a camera_info YAML")
    cameras = [key for key in content if re.fullmatch(r"cam\d+", key)]
    if len(cameras) > 1:
        raise InputError(f"is a Kalibr camchain of {', '.join(cameras)}; keep only that of the image")
    return {_plain(key): value for key, value in content[cameras[0]].items()} if cameras else content


def _calibration(values: dict[str, Any]) -> Calibration:
    width, height = values.get("resolution") or (_first(values, *WIDTH), _first(values, *HEIGHT))
    projection = _first(values, *PROJECTION)
    roi = values.get("roi") or {}
    return Calibration(
        _matrix(values),
        int(width or 0),
        int(height or 0),
        _model(values),
        tuple(_numbers(_first(values, *COEFFICIENT) or []).tolist()),
        None if projection is None or not _numbers(projection).any() else _numbers(projection).reshape(3, 4),
        tuple(int(roi.get(name, 0)) for name in ("x_offset", "y_offset", "width", "height")),  # type: ignore[arg-type]
        (max(1, int(values.get("binningx", 1))), max(1, int(values.get("binningy", 1)))),
    )


def _matrix(values: dict[str, Any]) -> NDArray[np.float64]:
    given = _first(values, *MATRIX)
    if given is not None:
        return _numbers(given).reshape(3, 3)
    if "intrinsics" not in values:
        raise KeyError("camera_matrix")
    fx, fy, cx, cy = _numbers(values["intrinsics"]).tolist()
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _model(values: dict[str, Any]) -> str:
    """The distortion model; some versions of camera_calibration wrote it as camera_model."""
    camera, named = str(values.get("cameramodel") or ""), str(_first(values, *MODEL) or "")
    if camera.lower() in {*COEFFICIENTS, *SYNONYMS}:
        named = named or camera
    elif camera.lower() not in ("", "pinhole"):
        raise InputError(f"the camera model {quoted(camera)} is not supported; use pinhole")
    return "equidistant" if not named and values.get("fisheyemodel") else named


def _first(values: dict[str, Any], *keys: str) -> Any:
    return next((values[key] for key in keys if values.get(key) is not None), None)


def _numbers(value: Any) -> NDArray[np.float64]:
    """The numbers of a list, of a list of rows, or of a mapping with `data` and a size."""
    if not isinstance(value, dict):
        return np.asarray(value, float).ravel()
    numbers = np.asarray(value["data"], float).ravel()
    count = int(value.get("rows", 1)) * int(value.get("cols", numbers.size))
    if count != numbers.size:
        raise InputError(
            f"a matrix of {value.get('rows', 1)}x{value.get('cols')} has {numbers.size} numbers; fix it"
        )
    return numbers
