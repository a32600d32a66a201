"""Views rendered from a map, as local features: what is kept of each of them to match images with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.ops.vlad import learn_words, vlad
from diff2i2p_core.typing import Array

MIN_FEATURES = 50
"""Views with fewer are left out."""


_SUPPORTED = 13.0
"""Focal length times spacing: points are then 6 pixels apart at 2 m."""


@dataclass(frozen=True)
class RenderSettings:
    """How views are rendered. A map records its own; images are brought to the same focal length."""

    focal: float = 420.0
    """Pixels."""
    width: int = 760
    height: int = 520
    min_depth: float = 0.15
    max_depth: float = 8.0
    """Metres; points outside are not drawn."""
    keypoints: int = 1800
    """Features of a view, at most: 241 kB."""

    @classmethod
    def for_spacing(cls, spacing: float) -> RenderSettings:
        """As fine as points so many metres apart support: coarser clouds are drawn smaller."""
        default = cls()
        scale = float(np.clip(_SUPPORTED / (spacing * default.focal), 0.5, 1.0))
        return replace(
            default,
            focal=default.focal * scale,
            width=round(default.width * scale),
            height=round(default.height * scale),
        )

    def camera(self) -> Camera:
        """The virtual pinhole camera of a view."""
        return Camera(
            self.width, self.height, self.focal, self.focal, (self.width - 1) / 2, (self.height - 1) / 2
        )

    def resampled(self, camera: Camera) -> Camera:
        """`camera` at the views' focal length: features do not bear other scales well."""
        scale = 2 * self.focal / (camera.fx + camera.fy)
        return camera.scaled_to(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))


@dataclass(frozen=True)
class ViewFeatures:
    """Local features with known places."""

    points: Array
    """(N, 3)."""
    descriptors: Tensor
    """(N, D) float32 of unit length."""

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class PackedViews:
    """The features of a map's views, packed; tensors of a file are read when a view is asked for."""

    settings: RenderSettings
    poses: Array
    """(V, 4, 4) map_from_view, optical frames."""
    counts: list[int]
    """Features of each view."""
    points: Tensor
    """(sum of counts, 3) float16, in the views' own frames."""
    descriptors: Tensor
    """(sum of counts, D) float16."""
    words: Tensor
    """(W, D) float32, of `ops.vlad`."""
    signatures: Tensor
    """(V, W * D) float16: each view's VLAD."""

    def __post_init__(self) -> None:
        rows = {len(self.points), len(self.descriptors), sum(self.counts)}
        views = {len(self.poses), len(self.counts), len(self.signatures)}
        if len(rows) > 1 or len(views) > 1 or min(self.counts, default=0) < 0:
            raise InputError("the rendered views do not add up")

    @classmethod
    def of(
        cls, settings: RenderSettings, poses: Array, counts: list[int], points: Tensor, descriptors: Tensor
    ) -> PackedViews:
        """Of features, packed as the fields are, of at least one view; its words are learned from them."""
        return cls(settings, poses, counts, points, descriptors, *_signed(descriptors, counts))

    @staticmethod
    def joined(parts: Sequence[PackedViews]) -> PackedViews:
        """The views of several maps, with words of their own."""
        descriptors = torch.cat([part.descriptors for part in parts])
        counts = [count for part in parts for count in part.counts]
        return PackedViews.of(
            parts[0].settings,
            np.concatenate([part.poses for part in parts]),
            counts,
            torch.cat([part.points for part in parts]),
            descriptors,
        )

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, view: int) -> ViewFeatures:
        """Of one view; points in the map frame."""
        start = self._starts[view]
        rows = slice(start, start + self.counts[view])
        points = transform_points(self.poses[view], self.points[rows].numpy().astype(np.float64))
        return ViewFeatures(points, self.descriptors[rows].float())

    def descriptors_of(self, view: int, most: int) -> Tensor:
        """(N, D) float32 of the strongest features of a view, `most` at most."""
        start = self._starts[view]
        return self.descriptors[start : start + min(most, self.counts[view])].float()

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(self.counts)]

    def ranked(self, descriptors: Tensor) -> list[int]:
        """Numbers of all views, those most like an image with `descriptors` (N, D) first."""
        signature = vlad(descriptors, self.words)
        likeness = self.signatures.to(signature.dtype) @ signature
        return likeness.argsort(descending=True, stable=True).tolist()

    def tensors(self) -> dict[str, Tensor | np.ndarray[Any, Any]]:
        """All but the settings, by name, as `from_tensors` takes them."""
        return {
            "poses": np.asarray(self.poses, np.float64),
            "counts": np.asarray(self.counts, np.int64),
            "points": self.points,
            "descriptors": self.descriptors,
            "words": self.words,
            "signatures": self.signatures,
        }

    @classmethod
    def from_tensors(cls, settings: dict[str, Any], tensors: dict[str, Tensor]) -> PackedViews:
        """InputError, TypeError or KeyError where they do not fit."""
        return cls(
            RenderSettings(**settings),
            tensors["poses"].numpy(),
            tensors["counts"].tolist(),
            tensors["points"],
            tensors["descriptors"],
            tensors["words"],
            tensors["signatures"],
        )

    def settings_dict(self) -> dict[str, Any]:
        return asdict(self.settings)


def _signed(descriptors: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Words, and the signatures (V, W * D) float16 of views with so many of the descriptors each."""
    words = learn_words(descriptors[:: max(1, len(descriptors) // 40_000)].float())
    signatures = [vlad(part.float(), words) for part in descriptors.split(list(counts))]
    return words, torch.stack(signatures).half()
