"""Edges of a rendered surface: where its normal or its depth changes. Photos mostly have edges there, too."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.ops.depth_channels import fine_normals
from diff2i2p_core.typing import Array

_MOST = 1000
"""Maximum number of edge pixels; of more, a random part."""
_LEAST, _LENGTH = 0.15, 15
"""Minimum strength of an edge, and of its pixels that are connected."""
_JUMP = 8.0
"""Weight of changes of the logarithm of depth; that of normals is 1."""
_MARGIN = 8
"""Pixels beside unknown ones without edges: the map ends there, not the surface."""

Channel = NDArray[np.float32]


class ShapeEdges(NamedTuple):
    points: Array
    """(N, 3) on the nearer surface, camera frame."""
    directions: Array
    """(N, 2) unit vectors across the edges in the image."""


def shape_edges(depth: Channel, camera: Camera) -> ShapeEdges:
    """The edges of depth (H, W) in metres, 0 where unknown. The thinned ridges of the structure tensor of
    normals and depth."""
    xx, yy, xy = _structure(depth, camera)
    strength = np.sqrt(xx + yy)
    angle = np.arctan2(2 * xy, xx - yy) / 2
    across = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    peak = _is_ridge(strength, across) & (strength > _LEAST)
    peak &= cv2.erode((depth > 0).astype(np.uint8), np.ones((2 * _MARGIN + 1,) * 2)).astype(bool)
    _, labels, parts, _ = cv2.connectedComponentsWithStats(peak.astype(np.uint8), connectivity=8)
    long = parts[:, cv2.CC_STAT_AREA] >= _LENGTH
    long[0] = False  # the background
    rows, columns = np.nonzero(long[labels])
    if len(rows) > _MOST:
        some = np.random.default_rng(0).choice(len(rows), _MOST, replace=False)
        rows, columns = rows[some], columns[some]
    nearer = cv2.erode(np.where(depth > 0, depth, np.float32(np.inf)), np.ones((3, 3)))
    points = camera.unproject(np.stack([columns, rows], axis=1), nearer[rows, columns])
    return ShapeEdges(points, across[rows, columns].astype(np.float64))


def _structure(depth: Channel, camera: Camera) -> tuple[Channel, Channel, Channel]:
    """The structure tensor (xx, yy, xy) of each pixel, not smoothed."""
    channels = [cv2.GaussianBlur(normal, (0, 0), 1.2) for normal in fine_normals(depth, camera)]
    gradients = [gradient(channel) for channel in channels]
    logarithm = np.log(np.where(depth > 0, depth, 1)).astype(np.float32)
    across, down = gradient(cv2.GaussianBlur(cv2.medianBlur(logarithm, 5), (0, 0), 1.0))
    change = np.hypot(across, down)
    # depth of a slanted plane changes everywhere: twice the least change around is no jump
    jump = np.maximum(change - 2 * cv2.erode(change, np.ones((9, 9))), 0) / np.maximum(change, 1e-9)
    gradients.append((np.float32(_JUMP) * jump * across, np.float32(_JUMP) * jump * down))
    x, y = (np.stack(parts) for parts in zip(*gradients, strict=True))
    return (x * x).sum(axis=0), (y * y).sum(axis=0), (x * y).sum(axis=0)


def gradient(channel: NDArray[Any]) -> tuple[Channel, Channel]:
    """Along u and v, per pixel."""
    u, v = (cv2.Scharr(channel, cv2.CV_32F, *axis, scale=1 / 32) for axis in ((1, 0), (0, 1)))
    return np.asarray(u, np.float32), np.asarray(v, np.float32)


def _is_ridge(strength: Channel, across: Array) -> NDArray[np.bool_]:
    """Where the strength is at least that of both neighbours across the edge."""
    v, u = np.indices(strength.shape, dtype=np.float32)
    step_u, step_v = across[..., 0].astype(np.float32), across[..., 1].astype(np.float32)
    before, after = (
        cv2.remap(strength, u + sign * step_u, v + sign * step_v, cv2.INTER_LINEAR) for sign in (-1, 1)
    )
    return np.asarray((strength >= before) & (strength > after))
