"""Tracking a body with several cameras, whose images come one by one or together."""

from __future__ import annotations

import numpy as np
import pytest
from test_tracker import MISS, moved
from tracker_rig import CAMERA, HERE, IMAGE, THERE, Rig

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.typing import Array

LEFT = exp([0, 1.2, 0, -0.1, 0.2, 0])


def test_cameras_that_take_turns_are_queries_of_the_same_body() -> None:
    rig = Rig()
    odom_from_map = exp([0, 0, -1.0, 3, 2, 0])
    mountings = {"front": np.eye(4), "left": LEFT}
    for i in range(6):
        name = ("front", "left")[i % 2]
        body = moved(HERE, 0.1 * i, 3 * i)
        found = rig.see(
            body @ mountings[name], odom=odom_from_map @ body, name=name, mounting=mountings[name]
        )
        assert found.localized
        if i:
            assert rig.prior is not None
            np.testing.assert_allclose(rig.prior, body @ mountings[name], atol=1e-9)


def test_a_camera_that_sees_nothing_does_not_make_the_others_search_everywhere() -> None:
    rig = Rig()
    assert rig.see(HERE, name="front").localized
    for _ in range(4):
        assert not rig.see(MISS, name="left", mounting=LEFT).localized
        assert rig.see(HERE, name="front").localized and rig.tracker.prior_used
    rig.see(MISS, name="left", mounting=LEFT)
    rig.see(MISS, name="left", mounting=LEFT)
    assert not rig.tracker.prior_used  # for itself, a second miss in a row is searched everywhere


def test_a_rig_is_tracked_as_one_body() -> None:
    rig = Rig()
    cameras = [RigCamera("front", CAMERA, exp([0, 0, 0, 0.3, 0, 0])), RigCamera("left", CAMERA, LEFT)]

    def see(body: Array | str, after: float = 0.1, **options: float) -> RigLocalization:
        rig.localizer.answer = body if isinstance(body, str) else body @ cameras[0].body_from_camera
        rig.stamp += round(after * 1e9)
        return rig.tracker.localize_rig([IMAGE, IMAGE], cameras, rig.stamp, **options)  # type: ignore[arg-type]

    assert see(HERE).localized and not rig.tracker.prior_used
    found = see(moved(HERE, 0.1))
    assert found.map_from_body is not None and rig.tracker.state == "tracking"
    np.testing.assert_allclose(found.map_from_body, moved(HERE, 0.1), atol=1e-9)
    assert rig.localizer.priors[-2] is not None  # of the front camera
    np.testing.assert_allclose(rig.localizer.priors[-2], HERE @ cameras[0].body_from_camera, atol=1e-9)
    jump = see(THERE)
    assert jump.reason.startswith("jump") and jump.map_from_body is None
    assert not any(share.localized for share in jump.cameras.values())
    assert see(MISS).reason == MISS and rig.tracker.misses == 2
    stale = see(HERE, after=-1.0)
    assert stale.reason.startswith("stale") and not stale.cameras
    with pytest.raises(InputError, match="there is none"):
        rig.tracker.localize_rig([], [], rig.stamp)
    rig.tracker.set_pose(HERE, within=(6.0, 40.0))
    rig.localizer.near_answer = HERE
    for _ in range(2):
        assert see("ambiguous (both)").reason == "ambiguous (both)" and rig.localizer.priors[-1] is None
    assert see(moved(HERE, 3.0)).localized
