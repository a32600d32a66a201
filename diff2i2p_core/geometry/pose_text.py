"""Poses as people write them: numbers with commas between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import exp, from_quaternion, is_rigid
from diff2i2p_core.typing import Array

FORMS = {
    4: "x,y,z,yaw (metres, radians)",
    7: "x,y,z,qx,qy,qz,qw (metres, unit quaternion)",
    16: "16 numbers of a 4x4 matrix, row by row",
}
"""By the number of the numbers."""


def pose_from_text(text: str, what: str, forms: Sequence[int] = (7, 16)) -> Array:
    """The transform (4, 4) that a text holds in one of the `FORMS`. InputError naming `what` otherwise.

    The yaw is about z: for bodies whose z axis points up, not for optical frames.
    """
    expected = " or ".join(FORMS[count] for count in forms)
    try:
        numbers = np.array([float(word) for word in text.split(",")])
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) not in forms or not np.isfinite(numbers).all():
        raise InputError(f"{what} '{text}': expected {expected}")
    if len(numbers) == 4:
        return exp([0, 0, numbers[3], *numbers[:3]])
    if len(numbers) == 16:
        matrix: Array = numbers.reshape(4, 4)
        if not is_rigid(matrix):
            raise InputError(f"{what} '{text}': not a rigid transform; expected {expected}")
        return matrix
    if abs(np.linalg.norm(numbers[3:]) - 1) > 0.01:
        raise InputError(f"{what} '{text}': has no unit quaternion; expected {expected}")
    return from_quaternion(numbers[:3], numbers[3:])
