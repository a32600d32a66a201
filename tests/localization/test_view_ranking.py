"""The views that an image may show are found among many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.localization.settings import ViewSettings
from diff2i2p_core.localization.view_ranking import ranked_views
from diff2i2p_core.mapping.packed_views import PackedViews, RenderSettings

VIEWS, FEATURES = 90, 160
SETTINGS = ViewSettings(glances=80, compared=20)


def random_units(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, 64, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture(scope="module")
def views() -> PackedViews:
    descriptors = random_units(VIEWS * FEATURES, seed=0)
    poses = np.tile(np.eye(4), (VIEWS, 1, 1))
    points = torch.zeros(len(descriptors), 3).half()
    return PackedViews.of(RenderSettings(), poses, [FEATURES] * VIEWS, points, descriptors.half())


def image_of(views: PackedViews, view: int, share: int) -> Tensor:
    """Descriptors of an image that shows `share` features of a view among others, somewhat changed."""
    shown = views.descriptors_of(view, FEATURES)[-share:]
    changed = F.normalize(shown + 0.03 * torch.randn(shown.shape, generator=torch.Generator().manual_seed(1)))
    return torch.cat([changed, random_units(200, seed=2)])


@pytest.mark.parametrize("view", [0, 41, VIEWS - 1])
def test_the_view_that_an_image_shows_is_first(views: PackedViews, view: int) -> None:
    assert ranked_views(views, image_of(views, view, share=40), SETTINGS)[0] == view


def test_more_features_in_common_rank_higher(views: PackedViews) -> None:
    image = torch.cat([image_of(views, 7, share=40)[:40], image_of(views, 50, share=60)])
    assert ranked_views(views, image, SETTINGS)[:2] == [50, 7]


def test_few_views_are_all_ranked_and_many_are_not(views: PackedViews) -> None:
    image = image_of(views, 3, share=30)
    assert len(ranked_views(views, image, SETTINGS)) == SETTINGS.compared
    every = ViewSettings(compared=VIEWS)
    assert sorted(ranked_views(views, image, every)) == list(range(VIEWS))


def test_an_image_without_features_ranks_no_view_first(views: PackedViews) -> None:
    assert len(ranked_views(views, torch.zeros(0, 64), SETTINGS)) == SETTINGS.compared
