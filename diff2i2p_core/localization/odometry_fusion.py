"""Combines the measured pose of a body with the one that odometry predicts.

From image to image, odometry is mostly more exact than a pose; over a longer way, it drifts.
"""

from __future__ import annotations

from dataclasses import dataclass

from diff2i2p_core.geometry.covariance import UNLIKELY, fused, squared_distance
from diff2i2p_core.localization.motion import Prediction
from diff2i2p_core.typing import Array

_ALIKE = 3.0
"""Number of images in a row whose errors are about the same: those of one view of the map."""


@dataclass(frozen=True)
class Measured:
    """The pose of a body from one image, or from several of one time."""

    map_from_body: Array
    covariance: Array | None
    """(6, 6), ROS order."""

    def with_prediction(self, prediction: Prediction | None) -> Measured:
        """The mean of both, weighted by their covariances. The pose itself if odometry does not predict it,
        or the covariances are not known.

        A pose that contradicts the prediction counts less: so much that it is just likely. A single wrong one
        moves the track little, but if odometry is wrong, the next ones do.
        """
        if self.covariance is None:
            return self
        measured = self.covariance * _ALIKE
        if prediction is None or prediction.covariance is None:
            return Measured(self.map_from_body, measured)
        both_errors = measured + prediction.covariance
        distance = squared_distance(self.map_from_body, prediction.map_from_body, both_errors)
        measured = measured * max(1.0, distance / UNLIKELY)
        both = (prediction.map_from_body, prediction.covariance), (self.map_from_body, measured)
        return Measured(*fused(both))
