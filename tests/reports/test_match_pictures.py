"""Pictures of an image's matches: where lines end, their colours, and what is shown of which image."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from plain_map import PlainMap

from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import solve_pnp
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import exp, invert, transform_points
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.recorded import Matches, localize_with_matches
from diff2i2p_core.reports.match_pictures import GAP, LINES, localization_figure, match_picture
from diff2i2p_core.reports.pair_pictures import RIGHT, WRONG

CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)
POSE = exp([0.1, 0.05, 0, 0.5, 0.2, 0.1])
IMAGE = np.full((240, 320, 3), 40, np.uint8)
RNG = np.random.default_rng(0)
PIXELS = np.stack([RNG.uniform(10, 310, 200), RNG.uniform(10, 230, 200)], axis=1)
RAYS = np.column_stack([(PIXELS - (159.5, 119.5)) / 260, np.ones(200)])
POINTS = transform_points(POSE, RAYS * RNG.uniform(1, 4, (200, 1)))
CLOUD = PointCloud(POINTS.astype(np.float32), np.full((200, 3), 90, np.uint8))


class Known:
    """Proposes the true pose, with a quarter of the matches 40 pixels off."""

    name, needs_depth, device = "known", False, torch.device("cpu")

    def propose(self, query: Query) -> Iterator[list[Hypothesis]]:
        pixels = PIXELS.copy()
        pixels[::4, 0] += 40
        estimate = solve_pnp(pixels, POINTS, query.camera, np.ones(200), query.settings.pnp)
        yield [Hypothesis(self.name, "all", pixels, POINTS, estimate)]


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer(PlainMap(CLOUD, POSE[None]), [Known()])  # type: ignore[arg-type]


def test_an_answer_comes_with_the_matches_it_was_made_from(localizer: Localizer) -> None:
    answer, matches = localize_with_matches(localizer, IMAGE, CAMERA)
    assert answer.localized and answer.map_from_camera is not None
    np.testing.assert_allclose(answer.map_from_camera, POSE, atol=1e-3)
    right = matches.right(answer.map_from_camera, CAMERA, localizer.settings)
    assert not right[::4].any() and right.sum() == 150


def test_lines_lead_to_the_points_green_if_right_and_red_if_wrong(localizer: Localizer) -> None:
    matches = Matches(np.array([[50.0, 60], [250, 200]]), POINTS[:2])
    right = np.array([True, False])
    picture = match_picture(IMAGE, CAMERA, POSE, localizer.map, matches, right, 1.0)
    assert picture.shape == (240, 2 * 320 + GAP, 3)
    ends, _ = CAMERA.project(transform_points(invert(POSE), POINTS[:2]))
    for start, end, color in zip(matches.pixels, ends, (RIGHT, WRONG), strict=True):
        for u, v in (start, np.add(end, (320 + GAP, 0))):
            assert np.abs(picture[round(v), round(u)].astype(int) - color).max() < 40
    assert (picture[:, 320 : 320 + GAP] == picture[0, 320]).all(axis=2).mean() > 0.9


def test_many_matches_are_thinned(localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, ...]] = []
    monkeypatch.setattr(cv2, "line", lambda canvas, start, end, color, *rest: drawn.append(color))
    right = np.ones(200, bool)
    match_picture(IMAGE, CAMERA, POSE, localizer.map, Matches(PIXELS, POINTS), right, 1.0)
    assert LINES / 2 < len(drawn) <= LINES and set(drawn) == {RIGHT}


@pytest.mark.parametrize(
    ("found", "true", "words"),
    [
        (POSE, None, ["150 of 200 matches agree with the pose found", "points over the image"]),
        (exp([0, 0, 0.5, 0, 0, 0]) @ POSE, POSE, ["0 of 200 matches agree with the pose", "points over"]),
        (None, POSE, ["150 of 200 matches agree with the true pose", "points over the image"]),
        (None, None, ["true pose is unknown"]),
    ],
)
def test_what_is_shown_of_an_image(
    localizer: Localizer, found: np.ndarray | None, true: np.ndarray | None, words: list[str]
) -> None:
    figure = localization_figure(localizer, IMAGE, CAMERA, QueryResult(3, 0.1, true, found), "a frame")
    assert figure.caption == "a frame" and len(figure.parts) == len(words)
    assert all(word in title for word, (title, _) in zip(words, figure.parts, strict=True))
