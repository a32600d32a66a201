"""Batches for training geometry features: photos, channels of renders, pixels that show the same points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.nearest_pixels import nearest_pixels
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.models.geometry_features import grey_tensor
from diff2i2p_core.ops.depth_channels import depth_channels
from diff2i2p_core.pairs.render_pairs import Place
from diff2i2p_core.typing import Array

_TOLERANCE = 0.05
"""Metres, and a fraction of the depth: a point is visible in an image if it is not farther behind."""


class Batch(NamedTuple):
    photos: Tensor
    """(B, 1, H, W) grey, mean 0 and deviation 1."""
    channels: Tensor
    """(B, 10, H, W), from `depth_channels`."""
    photo_pixels: Tensor
    """(B, N, 2) float32 (u, v)."""
    render_pixels: Tensor
    """(B, N, 2) pixels of the renders that show the same points."""


class Shared(NamedTuple):
    """Pixels of a render and of its photo that show the same points of the map."""

    render_pixels: NDArray[np.int64]
    """(N, 2) (u, v)."""
    photo_pixels: Array
    """(N, 2)."""


def shared_pixels(place: Place, view: int) -> Shared:
    """All pixels of a render whose points are visible in its photo."""
    camera, render = place.camera, place.renders[view].astype(np.float32)
    rows, columns = np.nonzero(render)
    points = back_project(render, camera)[rows, columns]
    in_photo = transform_points(place.image_from_render[view], points)
    pixels, z = camera.project(in_photo)
    inside = camera.contains(pixels, z)
    rows, columns, pixels, z = rows[inside], columns[inside], pixels[inside], z[inside]
    u, v = np.rint(pixels).astype(int).T
    seen = place.depths[place.frame_of[view]][v, u].astype(np.float64)
    visible = (seen > 0) & (np.abs(z - seen) < _TOLERANCE * (1 + seen))
    return Shared(np.stack([columns, rows], axis=1)[visible], pixels[visible])


def draw_batch(
    places: Sequence[Place], weights: Array, pairs: int, samples: int, rng: np.random.Generator
) -> Batch:
    """Pairs from places drawn by weight, with photos in another light and renders of worse clouds."""
    rows: list[tuple[Tensor, ...]] = []
    while len(rows) < pairs:
        place = places[int(rng.choice(len(places), p=weights))]
        view = int(rng.integers(len(place)))
        shared = shared_pixels(place, view)
        if len(shared.photo_pixels) < samples:
            continue
        render = degraded(place.renders[view].astype(np.float32), rng)
        channels = depth_channels(render, place.camera)
        at = shared.render_pixels
        interest = (0.2 + _interest(channels))[at[:, 1], at[:, 0]]
        chosen = rng.choice(len(at), samples, replace=False, p=interest / interest.sum())
        photo = relit(place.images[place.frame_of[view]], rng)
        rows.append(
            (
                grey_tensor(photo),
                torch.from_numpy(channels),
                torch.from_numpy(shared.photo_pixels[chosen].astype(np.float32)),
                torch.from_numpy(at[chosen].astype(np.float32)),
            )
        )
    return Batch(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _interest(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) between 0 and 1: high near edges and curved surfaces."""
    bend = sum(np.abs(channels[i] - cv2.blur(channels[i], (9, 9))) for i in (3, 4, 5))
    return np.asarray(np.minimum(cv2.blur(bend + channels[7], (9, 9)), 1), np.float32)


def relit(grey: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """The photo with another contrast, in light that varies over it, with noise and sometimes blurred."""
    image = (grey.astype(np.float32) + 1) / 256
    image = image ** np.float32(rng.uniform(0.6, 1.6))
    light = rng.normal(0, 0.35, (3, 4)).astype(np.float32)
    image = image * np.exp(cv2.resize(light, image.shape[::-1], interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5))
    image = image + rng.normal(0, rng.uniform(0, 0.03), image.shape)
    return np.asarray(np.clip(image, 0, rng.uniform(0.8, 1.5)), np.float32)


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
