"""Models of lens distortion: their names, and how many coefficients each has. The order is OpenCV's."""

from __future__ import annotations

from collections.abc import Sequence

from diff2i2p_core.errors import InputError, quoted

COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (4, 5, 8, 12, 14), "equidistant": (4,)}
"""ROS's models, and the numbers of coefficients that each can have. More are accepted if they are 0."""
SYNONYMS = {
    "radtan": "plumb_bob",
    "radial_tangential": "plumb_bob",
    "brown_conrady": "plumb_bob",
    "rational": "rational_polynomial",
    "fisheye": "equidistant",
    "equi": "equidistant",
    "kannala_brandt": "equidistant",
    "kannala_brandt4": "equidistant",
    "kannalabrandt8": "equidistant",
}
"""Names of the same models in Kalibr, EuRoC, OpenCV, RealSense and ORB-SLAM."""


def lens(model: str, coefficients: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """ROS's name of a distortion model, and as many coefficients as OpenCV takes; ("none", ()) if all are 0.

    Without a name, OpenCV's order is assumed: plumb_bob as in ROS's own parser, or rational_polynomial if
    more than five coefficients are not 0.

    Raises:
        InputError: the model is unknown, or does not have this number of coefficients.
    """
    if not any(coefficients):  # an undistorted camera may name any model or none
        return "none", ()
    name = model.strip().lower().replace("-", "_").replace(" ", "_")
    if name == "none":
        raise InputError(
            f"the distortion model is 'none', but {len(coefficients)} distortion coefficients are not all 0; "
            "name their model, or leave them out"
        )
    if not name:
        name = "rational_polynomial" if any(coefficients[5:]) else "plumb_bob"
    name = SYNONYMS.get(name, name)
    counts = COEFFICIENTS.get(name)
    if counts is None:
        raise InputError(
            f"the distortion model {quoted(model)} is not supported; use one of {', '.join(COEFFICIENTS)}"
        )
    used = len(coefficients) if len(coefficients) in counts else counts[-1]
    if len(coefficients) < used or any(coefficients[used:]):
        allowed = " or ".join(str(count) for count in counts)
        raise InputError(
            f"{len(coefficients)} distortion coefficients; {name} has {allowed}; "
            "write those that are missing as 0"
        )
    return name, tuple(float(value) for value in coefficients[:used])
