"""Finds which way is up in a cloud: along the normal of the largest plane, with most of the surface low."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.mapping.normals import surface_normals
from diff2i2p_core.mapping.viewpoints import AXES, axis_vector
from diff2i2p_core.typing import Array

_SPACING = 0.1
"""Metres between the points whose normals are computed."""
_SAMPLES = 20_000
_SEEDS = 500
_FLAT = 0.05
_PARALLEL = float(np.cos(np.radians(10)))
_ON_AXIS = float(np.cos(np.radians(5)))
"""A cloud tilted by less than this counts as upright."""
_ACROSS = float(np.sin(np.radians(15)))
_USUAL = {"z": 1.5, "y": 1.25}
"""Preference for this axis as the vertical: the walls of a long corridor are larger than its floor."""
_ONE_PLANE = 0.6
"""If this much of the surface is parallel to one plane, it may be a single wall with objects."""
_WALL_HEIGHT = 3.2
"""Metres. A plane that is larger than this in both directions is a floor."""


def find_up(points: NDArray[np.float32]) -> tuple[Array, str]:
    """Which way is up in a map (N, 3): a unit vector (3,), and a description.

    The vertical is the normal of the largest plane, the floor. A single plane that may be a wall is taken as
    upright instead. Most of the surface of a place is in its lower half: floor, tables and seats. The vector
    is a coordinate axis if it is within 5 degrees of one.
    """
    sparse = np.asarray(voxel_means(points, _SPACING), np.float64)
    rng = np.random.default_rng(0)
    samples = sparse[rng.permutation(len(sparse))[:_SAMPLES]]
    normals, flatness = surface_normals(cKDTree(sparse), samples)
    samples, normals = samples[flatness < _FLAT], normals[flatness < _FLAT]
    if not len(samples):
        return axis_vector("z"), "z, because the cloud has no planes"
    directions = [_on_axis(each) for each in _modes(normals, rng)]
    sizes = [_usual(each) * _largest_plane(samples, normals, each) for each in directions]
    vertical = directions[int(np.argmax(sizes))]
    vertical = _beside_wall(vertical, samples, normals)
    heights = sparse @ vertical
    up = vertical if heights.mean() < np.percentile(heights, [1, 99]).mean() else -vertical
    return up, _words(up)


def _modes(normals: Array, rng: np.random.Generator) -> list[Array]:
    """Frequent directions (3,) among the normals (N, 3) of either sign, at least 20 deg apart."""
    seeds = normals[rng.permutation(len(normals))[:_SEEDS]]
    votes = (np.abs(seeds @ normals.T) > _PARALLEL).sum(axis=1)
    modes: list[Array] = []
    while not modes or votes.max() > 0.02 * len(normals):
        seed = seeds[votes.argmax()]
        mode = seed
        for _ in range(4):
            alike = normals[np.abs(normals @ mode) > _PARALLEL]
            mode = (alike * np.sign(alike @ mode)[:, None]).mean(axis=0)
            mode /= np.linalg.norm(mode)
        modes.append(mode)
        votes[(np.abs(seeds @ mode) > np.cos(np.radians(20))) | (np.abs(seeds @ seed) > _PARALLEL)] = 0
    return modes


def _largest_plane(samples: Array, normals: Array, direction: Array) -> float:
    """The largest part of the surface in a layer of 10 cm across a direction, with normals along it."""
    heights = samples[np.abs(normals @ direction) > _PARALLEL] @ direction
    layers = np.bincount(np.floor((heights - heights.min()) / _SPACING).astype(int), minlength=2)
    return float((layers[1:] + layers[:-1]).max() / len(normals))


def _beside_wall(vertical: Array, samples: Array, normals: Array) -> Array:
    """`vertical`, or an axis along the only plane if that may be a wall."""
    on_plane = np.abs(normals @ vertical) > _PARALLEL
    if on_plane.mean() < _ONE_PLANE or abs(vertical[2]) > _ON_AXIS:
        return vertical
    spread = samples[on_plane] - samples[on_plane].mean(axis=0)
    _, vectors = np.linalg.eigh(spread.T @ spread)
    width = np.ptp(np.percentile(spread @ vectors[:, 1], [1, 99]))
    if width < _WALL_HEIGHT:
        for axis in ("z", "y"):
            if abs(axis_vector(axis) @ vertical) < _ACROSS:
                return axis_vector(axis)
    return vertical


def _on_axis(direction: Array) -> Array:
    """The coordinate axis near the direction, or else the direction."""
    nearest = int(np.abs(direction).argmax())
    return np.eye(3)[nearest] if abs(direction[nearest]) > _ON_AXIS else direction


def _usual(direction: Array) -> float:
    return next((f for axis, f in _USUAL.items() if abs(axis_vector(axis) @ direction) == 1), 1.0)


def _words(up: Array) -> str:
    axis = max(AXES, key=lambda each: float(axis_vector(each) @ up))
    angle = np.degrees(np.arccos(np.clip(axis_vector(axis) @ up, -1, 1)))
    if angle < 0.1:
        return axis
    return "({:.2f}, {:.2f}, {:.2f})".format(*up) + f", {angle:.0f} deg from {axis}"
