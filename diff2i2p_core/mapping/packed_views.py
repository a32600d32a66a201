"""Views rendered from a map, stored as local features for matching with images."""

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
from diff2i2p_core.ops.vlad import learn_words, similarities, vlad
from diff2i2p_core.typing import Array

MIN_FEATURES = 50
"""Views with fewer features are left out."""


_SUPPORTED = 13.0
"""Focal length times detail, so that points are 6 pixels apart at 2 m."""
_NEAR, _FAR = 8.0, 80.0
"""Metres. How far maps of rooms, and at most of the open, are rendered."""
_ROOM_SPACING = 0.05
"""Metres. Coarser clouds are of the open."""
_FAR_SPACINGS = 320
"""Clouds of the open are rendered as far as this many times their spacing."""
_FAR_FOCAL = 640.0
"""Pixels, for intensity in the open. Measured on lidar scans: at 420, half as many matches are right."""
_NOISE_DETAIL = 3.0
"""A cloud's noise blurs details of this many standard deviations."""


@dataclass(frozen=True)
class RenderSettings:
    """How views are rendered. A map records its settings; images are resampled to the same focal length."""

    focal: float = 420.0
    """Pixels."""
    width: int = 760
    height: int = 520
    min_depth: float = 0.15
    max_depth: float = 8.0
    """Metres. Points outside this range are not drawn."""
    keypoints: int = 1800
    """Maximum number of features per view: 241 kB."""
    look: str = "colors"
    """What the views show, a name of `mapping.looks`. Maps of earlier versions do not record it."""

    @classmethod
    def for_cloud(
        cls, spacing: float, noise: float = 0.0, look: str = "colors", focal: float = 420.0
    ) -> RenderSettings:
        """The settings for points this many metres apart, and `noise` metres from their surface (standard
        deviation). Coarser clouds are rendered smaller. Clouds of the open are rendered farther, and lidar
        scans larger."""
        default = cls(look=look)
        if spacing > _ROOM_SPACING:
            far = float(np.clip(_FAR_SPACINGS * spacing, _NEAR, _FAR))
            default = replace(default, max_depth=far)
            if look == "intensity":
                return replace(default, focal=_FAR_FOCAL)
        detail = max(spacing, _NOISE_DETAIL * noise)
        scale = min(float(np.clip(_SUPPORTED / (detail * default.focal), 0.5, 1.0)), focal / default.focal)
        return replace(
            default,
            focal=default.focal * scale,
            width=round(default.width * scale),
            height=round(default.height * scale),
        )

    def camera(self) -> Camera:
        """The virtual pinhole camera of the views."""
        return Camera(
            self.width, self.height, self.focal, self.focal, (self.width - 1) / 2, (self.height - 1) / 2
        )

    def resampled(self, camera: Camera) -> Camera:
        """`camera` with the focal length of the views, because features are sensitive to scale."""
        scale = 2 * self.focal / (camera.fx + camera.fy)
        return camera.scaled_to(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))


@dataclass(frozen=True)
class ViewFeatures:
    """Local features with known positions."""

    points: Array
    """(N, 3)."""
    descriptors: Tensor
    """(N, D) unit length; float32, or float16 if they are stored. Best first."""

    def __len__(self) -> int:
        return len(self.points)

    def strongest(self, count: int) -> ViewFeatures:
        return ViewFeatures(self.points[:count], self.descriptors[:count])


@dataclass(frozen=True)
class PackedViews:
    """The packed features of a map's views. Tensors of a file are read when a view is used."""

    settings: RenderSettings
    poses: Array
    """(V, 4, 4) map_from_view, optical frames."""
    counts: list[int]
    """Number of features of each view."""
    points: Tensor
    """(sum of counts, 3) float16, in the frames of the views."""
    descriptors: Tensor
    """(sum of counts, D) float16."""
    words: Tensor
    """(W, D) float32, from `ops.vlad`."""
    signatures: Tensor
    """(V, W * D) float16: each view's VLAD."""

    def __post_init__(self) -> None:
        rows = {len(self.points), len(self.descriptors), sum(self.counts)}
        views = {len(self.poses), len(self.counts), len(self.signatures)}
        if len(rows) > 1 or len(views) > 1 or min(self.counts, default=0) < 0:
            raise InputError("the rendered views are inconsistent")

    @classmethod
    def of(
        cls, settings: RenderSettings, poses: Array, counts: list[int], points: Tensor, descriptors: Tensor
    ) -> PackedViews:
        """From packed features of one or more views. The words are learned from them."""
        return cls(settings, poses, counts, points, descriptors, *_signed(descriptors, counts))

    @staticmethod
    def joined(parts: Sequence[PackedViews]) -> PackedViews:
        """The views of several maps, with new words. Images are resampled for the largest of them: views that
        were rendered at another scale are found less often."""
        descriptors = torch.cat([part.descriptors for part in parts])
        counts = [count for part in parts for count in part.counts]
        return PackedViews.of(
            max(parts, key=len).settings,
            np.concatenate([part.poses for part in parts]),
            counts,
            torch.cat([part.points for part in parts]),
            descriptors,
        )

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, view: int) -> ViewFeatures:
        """The features of one view, with points in the map frame."""
        start = self._starts[view]
        rows = slice(start, start + self.counts[view])
        points = transform_points(self.poses[view], self.points[rows].numpy().astype(np.float64))
        return ViewFeatures(points, self.descriptors[rows])

    def descriptors_of(self, view: int, most: int) -> Tensor:
        """(N, D) float16 descriptors of at most `most` features of a view, the strongest ones."""
        start = self._starts[view]
        return self.descriptors[start : start + min(most, self.counts[view])]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(self.counts)]

    def ranked(self, descriptors: Tensor, most: int) -> list[int]:
        """Indices of at most `most` views, the most similar to an image with `descriptors` (N, D) first."""
        signature = vlad(descriptors, self.words.to(descriptors.device))
        likeness = similarities(self.signatures, signature)
        return likeness.argsort(descending=True, stable=True)[:most].tolist()

    def tensors(self) -> dict[str, Tensor | np.ndarray[Any, Any]]:
        """Everything but the settings, by name, for `from_tensors`."""
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
        """InputError, TypeError or KeyError if they are inconsistent."""
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
    """Words, and the signatures (V, W * D) float16 of views with `counts` of the descriptors each."""
    words = learn_words(descriptors[:: max(1, len(descriptors) // 40_000)].float())
    signatures = [vlad(part.float(), words) for part in descriptors.split(list(counts))]
    return words, torch.stack(signatures).half()
