"""The mean of a measured pose and the one that odometry predicts."""

from __future__ import annotations

import numpy as np
from tracker_rig import CAMERA, HERE, IMAGE, Rig

from diff2i2p_core.geometry.covariance import perturb
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import exp, invert, rotation_error_deg, translation_error
from diff2i2p_core.localization.motion import Fix, Moment, Prediction, predict
from diff2i2p_core.localization.odometry_fusion import Measured
from diff2i2p_core.localization.settings import TrackerSettings
from diff2i2p_core.typing import Array

MOUNTING = exp([0, 1.2, 0, -0.1, 0.2, 0])


def covariance(metres: float, degrees: float) -> Array:
    return np.diag([metres**2] * 3 + [np.radians(degrees) ** 2] * 3)


def beside(pose: Array, metres: float) -> Array:
    return perturb(pose, np.array([metres, 0, 0, 0, 0, 0]))


def test_the_mean_is_nearer_to_what_is_known_better() -> None:
    prediction = Prediction(HERE, 0.5, 15, covariance(0.02, 0.5))
    both = Measured(beside(HERE, 0.1), covariance(0.1, 3)).with_prediction(prediction)
    assert translation_error(both.map_from_body, HERE) < 0.01
    assert both.covariance is not None and both.covariance[0, 0] < 0.02**2
    exact = Measured(beside(HERE, 0.1), covariance(0.001, 0.1)).with_prediction(prediction)
    assert translation_error(exact.map_from_body, HERE) > 0.05
    alone = Measured(HERE, covariance(0.1, 3)).with_prediction(Prediction(HERE, 0.5, 15))
    assert alone.map_from_body is HERE and alone.covariance is not None
    assert alone.covariance[0, 0] > 0.1**2  # images in a row have the same errors
    unknown = Measured(HERE, None)
    assert unknown.with_prediction(prediction) is unknown


def test_a_contradiction_moves_the_track_little_but_again_and_again() -> None:
    prediction, sigma = Prediction(HERE, 0.5, 15, covariance(0.02, 0.5)), covariance(0.02, 0.5)
    there = beside(HERE, 0.4)
    once = Measured(there, sigma).with_prediction(prediction)
    assert translation_error(once.map_from_body, HERE) < 0.08
    for _ in range(40):
        assert once.covariance is not None
        grown = once.covariance + covariance(0.005, 0.2)
        once = Measured(there, sigma).with_prediction(Prediction(once.map_from_body, 0.5, 15, grown))
    assert translation_error(once.map_from_body, there) < 0.1


def test_the_covariance_of_a_prediction_grows_with_the_way() -> None:
    def after(metres: float) -> Array:
        start = Moment(0, np.eye(4), 0.0, 0.0)
        fix = Fix(start, HERE, 0.5, 15, covariance(0.05, 1))
        now = start.after(1, exp([0, 0, 0, metres, 0, 0]))
        found = predict(fix, None, now, TrackerSettings(), (2.0, 60.0))
        assert found is not None and found.covariance is not None
        return np.sqrt(np.diag(found.covariance))

    still, near, far = after(0.0), after(1.0), after(5.0)
    assert 0.05 < still[0] < 0.052 and (near > still).any() and (far[:3] > near[:3]).all()
    assert far[:3].max() < 0.7
    without = Fix(Moment(0, np.eye(4), 0.0, 0.0), HERE, 0.5, 15)
    moved = predict(without, None, without.moment.after(1, np.eye(4)), TrackerSettings(), (2.0, 60.0))
    assert moved is not None and moved.covariance is None


def test_noisy_poses_with_exact_odometry_are_tracked_better_than_measured() -> None:
    rig, rng = Rig(), np.random.default_rng(1)
    rig.localizer.covariance = covariance(0.08, 2)
    measured, tracked = list[tuple[float, float]](), list[tuple[float, float]]()
    body = HERE
    for _ in range(30):
        body = body @ exp([0, 0.02, 0, 0.05, 0, 0])
        noisy = perturb(body @ MOUNTING, rng.normal(0, [0.08] * 3 + [0.035] * 3))
        found = rig.see(noisy, odom=exp([0, 0, 1.0, 2, 0, 0]) @ body, mounting=MOUNTING)
        assert found.map_from_camera is not None and found.covariance is not None
        assert (np.linalg.eigvalsh(found.covariance) > 0).all()
        for errors, pose in ((measured, noisy), (tracked, found.map_from_camera)):
            of_body = pose @ invert(MOUNTING)
            errors.append((translation_error(of_body, body), rotation_error_deg(of_body, body)))
    better = np.median(tracked[5:], axis=0) / np.median(measured[5:], axis=0)
    assert (better < 0.7).all()


def test_without_odometry_a_pose_is_what_was_measured() -> None:
    rig = Rig()
    rig.localizer.covariance = covariance(0.08, 2)
    for _ in range(3):
        found = rig.see(HERE)
        assert found.map_from_camera is HERE and found.covariance is rig.localizer.covariance


def test_the_cameras_of_a_rig_move_with_the_body() -> None:
    rig = Rig()
    rig.localizer.covariance = covariance(0.1, 3)
    cameras = [RigCamera("front", CAMERA, exp([0, 0, 0, 0.3, 0, 0])), RigCamera("left", CAMERA, MOUNTING)]
    for number, off in enumerate((0.0, 0.1)):
        rig.localizer.answer = beside(HERE, off) @ cameras[0].body_from_camera
        stamp = rig.stamp + 100_000_000 * (number + 1)
        found = rig.tracker.localize_rig([IMAGE, IMAGE], cameras, stamp, odom_from_body=np.eye(4))
    assert found.map_from_body is not None
    assert 0.01 < translation_error(found.map_from_body, HERE) < 0.09
    for mounted in cameras:
        of_camera = found.cameras[mounted.name].map_from_camera
        assert of_camera is not None
        np.testing.assert_allclose(of_camera, found.map_from_body @ mounted.body_from_camera, atol=1e-9)
