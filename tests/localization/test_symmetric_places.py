"""A corridor whose two halves look alike: no pose without a prior, the right one with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_matches import CAMERA, IMAGE, network_of, true_matches

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, exp, invert, transform_points, translation_error
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.features import Correspondences, ImageFeatures, SubmapFeatures
from diff2i2p_core.models.inputs import input_camera

TENTH = 100_000_000
TURNED = compose(np.diag([-1.0, -1.0, 1.0]), [0, 0, 0])
"""Maps the corridor onto itself: half a turn about its middle."""
EAST_VIEW = looking(np.array([5.0, 0.0, 1.4]), 0.3, 0.05)
VIEW_FROM_CAMERA = exp([0.02, 0.05, 0.0, 0.1, 0.0, 0.15])
EAST = EAST_VIEW @ VIEW_FROM_CAMERA
WEST = TURNED @ EAST


@pytest.fixture
def localizer(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Localizer:
    """Its network matches an image taken at EAST equally well with both ends."""
    rng = np.random.default_rng(2)
    half = []
    size, count = ((0, -1.2, 0), (12, 1.2, 2.6)), (6000, 3)
    for y, z in ((-1.2, None), (1.2, None), (None, 0.0), (None, 2.6)):  # walls, floor, ceiling
        side = rng.uniform(*size, count)
        side[:, 1 if z is None else 2] = y if z is None else z
        half.append(side)
    end = rng.uniform(*size, count)
    end[:, 0] = 12.0
    east = np.concatenate([*half, end])
    points = np.concatenate([east, transform_points(TURNED, east)])
    colors = np.full((len(points), 3), 120, np.uint8)
    views = np.array([EAST_VIEW, TURNED @ EAST_VIEW])
    made = Localizer.from_cloud(
        PointCloud(points, colors), matcher="network", weights=tiny_weights, views=views
    )
    camera = input_camera(CAMERA, network_of(made).model.config)

    def match(image: ImageFeatures, submap: SubmapFeatures, nodes: object = None) -> Correspondences:
        return true_matches(submap, camera, invert(VIEW_FROM_CAMERA), step=5)

    monkeypatch.setattr(network_of(made).model, "match", match)
    return made


def test_without_a_prior_neither_end_is_accepted(localizer: Localizer) -> None:
    tracker = Tracker(localizer)
    for i in range(3):
        found = tracker.localize(IMAGE, CAMERA, (i + 1) * TENTH)
        assert not found.localized and found.reason.startswith("ambiguous")
    assert tracker.state == "lost"


@pytest.mark.parametrize("truth", [EAST, WEST], ids=["east", "west"])
def test_a_prior_decides_and_tracking_keeps_it(localizer: Localizer, truth: np.ndarray) -> None:
    tracker = Tracker(localizer)
    tracker.set_pose(truth @ exp([0, 0.1, 0, 0.4, 0, -0.3]))
    for i in range(3):
        found = tracker.localize(IMAGE, CAMERA, (i + 1) * TENTH)
        assert found.map_from_camera is not None and translation_error(found.map_from_camera, truth) < 0.02
    # an image too poor to use: in the whole map, the next one is ambiguous, but the prior decides
    strict = replace(localizer.settings.gates, min_inliers=10**6)
    usual, localizer.settings = localizer.settings, replace(localizer.settings, gates=strict)
    assert tracker.localize(IMAGE, CAMERA, 4 * TENTH).reason.startswith("too few inliers")
    localizer.settings = usual
    assert localizer.localize(IMAGE, CAMERA).reason.startswith("ambiguous")
    found = tracker.localize(IMAGE, CAMERA, 5 * TENTH)
    assert found.map_from_camera is not None and translation_error(found.map_from_camera, truth) < 0.02
