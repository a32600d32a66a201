"""Finds the views of a map that an image may show, in three steps, each more thorough and for fewer views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.localization.settings import ViewSettings
from diff2i2p_core.mapping.packed_views import PackedViews
from diff2i2p_core.ops.mutual import mutual_counts

_AT_ONCE = 8
"""Number of views compared with the image in one product, so that the similarities fit into a CPU's cache."""


def ranked_views(views: PackedViews, descriptors: Tensor, settings: ViewSettings) -> list[int]:
    """Indices of the views that look like an image with descriptors (N, D), strongest first; best view first.
    Of the `likely_views`, those with the most matches."""
    likely = likely_views(views, descriptors, settings)
    strongest = descriptors[: settings.compared_features]
    theirs = [views.descriptors_of(view, settings.compared_features) for view in likely]
    return by_value(likely, mutual_counts(strongest, theirs, settings.min_likeness))


def likely_views(views: PackedViews, descriptors: Tensor, settings: ViewSettings) -> list[int]:
    """Among the views with the most similar signatures, the `compared` ones that have the most features in
    common with an image with descriptors (N, D), strongest first."""
    likely = views.ranked(descriptors, settings.glances)
    if len(likely) > settings.compared:
        likely = by_value(likely, _in_common(views, likely, descriptors, settings))[: settings.compared]
    return likely


def _in_common(
    views: PackedViews, likely: Sequence[int], descriptors: Tensor, settings: ViewSettings
) -> list[int]:
    """For each of the `likely` views, how many of its strongest features are like one of the image."""
    strongest = descriptors[: settings.glance_features]
    if not len(strongest):
        return [0] * len(likely)
    counts = list[int]()
    at_once = len(likely) if strongest.is_cuda else _AT_ONCE
    for first in range(0, len(likely), at_once):
        some = likely[first : first + at_once]
        parts = [views.descriptors_of(view, settings.glance_view_features) for view in some]
        theirs = torch.cat(parts).to(strongest.device).float()
        like = ((strongest @ theirs.T).amax(dim=0) > settings.min_likeness).cpu()
        counts += [int(part.sum()) for part in like.split([len(part) for part in parts])]
    return counts


def by_value(views: Sequence[int], values: Sequence[float]) -> list[int]:
    """The views, largest value first."""
    return [views[i] for i in np.argsort(-np.array(values), kind="stable")]
