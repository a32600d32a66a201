"""Batches for training geometry features: photos, channels of renders, pixels that show the same points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.nearest_pixels import nearest_pixels
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.models.geometry_features import grey_tensor
from diff2i2p_core.ops.depth_channels import depth_channels
from diff2i2p_core.pairs.photo_changes import papered, relit
from diff2i2p_core.pairs.render_pairs import Place
from diff2i2p_core.typing import Array

_TOLERANCE = 0.05
"""Metres, and a fraction of the depth: a point is visible in an image if it is not farther behind."""
CUT = (256, 192)
"""Width and height in pixels of what the networks are trained on."""
_CANDIDATES = 5
"""Every fifth pixel of a render is a candidate: enough, and a width of 320 gives each row other columns."""
_ZOOM = 1.25
"""Largest factor between the scales of a photo and of its cut."""


class Batch(NamedTuple):
    photos: Tensor
    """(B, 1, H, W) grey, mean 0 and deviation 1."""
    channels: Tensor
    """(B, 10, H, W), from `depth_channels`."""
    photo_pixels: Tensor
    """(B, N, 2) float32 (u, v)."""
    render_pixels: Tensor
    """(B, N, 2) pixels of the renders that show the same points."""


@dataclass(frozen=True)
class RenderBatches:
    """The batch of each step by its number. It depends only on the seed and the number."""

    places: Sequence[Place]
    weights: Array
    """Of the places; their sum is 1."""
    pairs: int
    samples: int
    seed: int
    papered: float = 0.0
    """Share of the photos whose surfaces get other pictures."""

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        return draw_batch(self.places, self.weights, self.pairs, self.samples, rng, self.papered)


class Shared(NamedTuple):
    """Pixels of a render and of its photo that show the same points of the map."""

    render_pixels: NDArray[np.int64]
    """(N, 2) (u, v)."""
    photo_pixels: Array
    """(N, 2)."""


def shared_pixels(place: Place, view: int, start: int = 0, step: int = 1) -> Shared:
    """The pixels of a render whose points are visible in its photo, among every `step`-th from `start`."""
    camera, render = place.camera, place.renders[view]
    rows, columns = (found[start::step] for found in np.nonzero(render))
    points = camera.unproject(np.stack([columns, rows], axis=1), render[rows, columns])
    in_photo = transform_points(place.image_from_render[view], points)
    pixels, z = camera.project(in_photo)
    inside = camera.contains(pixels, z)
    rows, columns, pixels, z = rows[inside], columns[inside], pixels[inside], z[inside]
    u, v = np.rint(pixels).astype(int).T
    seen = place.depths[place.frame_of[view]][v, u].astype(np.float64)
    visible = (seen > 0) & (np.abs(z - seen) < _TOLERANCE * (1 + seen))
    return Shared(np.stack([columns, rows], axis=1)[visible], pixels[visible])


def draw_batch(
    places: Sequence[Place],
    weights: Array,
    pairs: int,
    samples: int,
    rng: np.random.Generator,
    papered_share: float = 0.0,
) -> Batch:
    """Pairs from places drawn by weight, with photos in another light, a share of them with other pictures on
    their surfaces, and renders of worse clouds.

    Photo and render are cut to `CUT` at different positions, the photo also at another scale, and both are
    mirrored or not. Otherwise, the networks would learn that the same point is at about the same place in
    both, and confirm any pose from which the map is rendered.
    """
    rows: list[tuple[Tensor, ...]] = []
    while len(rows) < pairs:
        place = places[int(rng.choice(len(places), p=weights))]
        view = int(rng.integers(len(place)))
        photo, window = Cut.of_photo(place.camera, rng), Cut.of_render(place.camera, rng)
        some = shared_pixels(place, view, int(rng.integers(_CANDIDATES)), _CANDIDATES)
        shared = shared_in_cuts(some, photo, window)
        if len(shared.photo_pixels) < samples:
            continue
        grey = place.images[place.frame_of[view]]
        if papered_share and rng.random() < papered_share:
            grey = _papered(places, place, int(place.frame_of[view]), rng)
        grey = photo.image(relit(grey, rng))
        depth = degraded(window.image(place.renders[view].astype(np.float32)), rng)
        camera = window.camera(place.camera)
        if rng.random() < 0.5:
            grey, depth = (np.ascontiguousarray(image[:, ::-1]) for image in (grey, depth))
            camera = replace(camera, cx=CUT[0] - 1 - camera.cx)
            shared = Shared(*(np.abs(uv - [CUT[0] - 1, 0]) for uv in shared))
        channels = depth_channels(depth, camera)
        at = shared.render_pixels
        interest = (0.2 + _interest(channels))[at[:, 1], at[:, 0]]
        chosen = rng.choice(len(at), samples, replace=False, p=interest / interest.sum())
        rows.append(
            (
                grey_tensor(grey),
                torch.from_numpy(channels),
                *(torch.from_numpy(uv[chosen].astype(np.float32)) for uv in (shared.photo_pixels, at)),
            )
        )
    return Batch(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _papered(
    places: Sequence[Place], place: Place, frame: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A photo (H, W) of a place with parts of photos of any place on its surfaces."""
    pictures = places[int(rng.integers(len(places)))].images
    depth = place.depths[frame].astype(np.float32)
    return papered(place.images[frame], depth, place.camera, pictures, rng)


class Cut(NamedTuple):
    """A part of an image, resampled to `CUT`."""

    left: float
    top: float
    """The position in pixels of its first pixel."""
    scale: float
    """Pixels of the cut per pixel."""

    @classmethod
    def of_photo(cls, camera: Camera, rng: np.random.Generator) -> Cut:
        """With a scale that differs by a quarter at most."""
        scale = float(np.exp(rng.uniform(-1, 1) * np.log(_ZOOM)))
        free = camera.width - CUT[0] / scale, camera.height - CUT[1] / scale
        return cls(rng.uniform() * free[0], rng.uniform() * free[1], scale)

    @classmethod
    def of_render(cls, camera: Camera, rng: np.random.Generator) -> Cut:
        """As it is."""
        free = camera.width - CUT[0], camera.height - CUT[1]
        return cls(int(rng.integers(free[0] + 1)), int(rng.integers(free[1] + 1)), 1.0)

    def image(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cut of an image (H, W)."""
        if self.scale == 1:
            return image[int(self.top) :, int(self.left) :][: CUT[1], : CUT[0]]
        matrix = np.array([[1 / self.scale, 0, self.left], [0, 1 / self.scale, self.top]])
        cut = cv2.warpAffine(image, matrix, CUT, flags=cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(cut, np.float32)

    def camera(self, camera: Camera) -> Camera:
        """The camera of the cut of a render."""
        return Camera(*CUT, camera.fx, camera.fy, camera.cx - self.left, camera.cy - self.top)


def shared_in_cuts(shared: Shared, photo: Cut, window: Cut) -> Shared:
    """The pixels of both cuts that show points that are in both."""
    of_photo = (shared.photo_pixels - [photo.left, photo.top]) * photo.scale
    of_render = shared.render_pixels - np.array([window.left, window.top], np.int64)
    kept = np.ones(len(of_photo), bool)
    for pixels in (of_photo, of_render):
        kept &= ((pixels >= 0) & (pixels <= np.array(CUT) - 1)).all(axis=1)
    return Shared(of_render[kept], of_photo[kept])


def _interest(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) between 0 and 1: high near edges and curved surfaces."""
    bend = sum(np.abs(channels[i] - cv2.blur(channels[i], (9, 9))) for i in (3, 4, 5))
    return np.asarray(np.minimum(cv2.blur(bend + channels[7], (9, 9)), 1), np.float32)


def degraded(depth: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Sometimes the render as from a coarser or noisier cloud, or from one with scan lines."""
    kind = rng.random()
    if kind < 0.5:
        return depth
    keep = depth > 0
    if kind < 0.65:
        rows = (np.arange(len(depth)) + rng.integers(8)) % int(rng.integers(3, 8)) == 0
        keep &= rows[:, None] & (rng.random(depth.shape) < 0.7)
    else:
        keep &= rng.random(depth.shape) < rng.uniform(0.05, 0.6)
    if not keep.any():
        return depth
    noisy = depth + rng.normal(0, rng.uniform(0, 0.03), depth.shape)
    known = np.flatnonzero(keep)
    nearest, distance = nearest_pixels(known, depth.shape, cv2.DIST_MASK_3)
    filled = noisy.flat[known][nearest]
    return np.where((depth > 0) & (distance < 8), np.maximum(filled, 0.1), 0).astype(np.float32)
