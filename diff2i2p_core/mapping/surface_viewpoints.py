"""Selects viewpoints that show every piece of a map's surface from near and far, as cameras see it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.geometry.voxels import VoxelGroups
from diff2i2p_core.mapping.occupancy import Occupancy
from diff2i2p_core.mapping.surfaces import Surface
from diff2i2p_core.mapping.viewpoints import looking, rotation_from_z_up, sample_viewpoints
from diff2i2p_core.typing import Array

DISTANCES = (0.8, 1.4, 2.4, 4.0)
"""Metres. Every piece should be seen from a distance between each two of them."""
_CANDIDATES_AT = (1.0, 1.8, 3.0)
"""Metres from a piece at which a camera is tried, one for each range of `DISTANCES`."""
_MAX_ANGLE = math.radians(60)
"""Maximum angle between a line of sight and the surface normal."""
_YAWS = np.radians(np.arange(-180, 180, 22.5))
_PITCHES = np.radians([-30, -20, -10, 0, 10, 20, 34])
"""Downward pitch of the cameras that are tried. Floors are seen at 34 degrees and more."""
CLEARANCE = 0.3
"""Minimum metres between a camera and the nearest point."""
HEIGHTS = (0.3, 1.9)
"""Height of cameras in metres above a floor, if there is one: from low robots to hand-held cameras."""
_FLAT = np.array([1, 1, 4.0 / 0.8])
"""Scale of positions: a floor is searched within 4 m horizontally, and 0.8 m around the usual height."""
_SPACING = 0.1
_SURFACE = 0.45
"""A line of sight may end this many metres before a piece, because cells beside it contain its surface."""
_DIRECTIONS = 2
"""From the left and from the right of a piece."""
_MIN_GAIN = 1.8
"""Minimum area in square metres that a view must add, at one distance and from one direction."""
_TRIED = 5
"""Number of cameras that are compared for a piece."""


def surface_viewpoints(cloud: PointCloud, camera: Camera, *, up: str | Array = "z") -> Array:
    """Camera poses (V, 4, 4), map_from_camera, for views of a cloud that may show any part of a place.

    Each view shows surface from free space, within 60 degrees of its normal and from 0.8 to 4 m away. The
    camera is upright, pitched by at most 35 degrees. The viewpoints of `sample_viewpoints` are taken first. A
    view is taken only if it adds enough surface that was not yet seen from that distance and direction. So
    the number of views, the time and the memory grow with the surface. If no view adds enough, the result is
    the viewpoints of `sample_viewpoints`.
    """
    map_from_level = rotation_from_z_up(up)
    cells = VoxelGroups(cloud.points, _SPACING)
    level = cells.mean(cloud.points) @ map_from_level
    level_from_map = compose(map_from_level.T, [0, 0, 0])
    cover = _Cover(level, _contrast(cloud, cells), camera)
    standing = level_from_map @ sample_viewpoints(cloud.points, up=up)
    for pose in standing[cover.fits(standing[:, :3, 3])]:
        cover.take_best(pose[None])
    for number in reversed(range(len(_CANDIDATES_AT))):
        cover.complete(number)
    return np.asarray(invert(level_from_map) @ (cover.poses or list(standing)))


def _contrast(cloud: PointCloud, cells: VoxelGroups) -> Array:
    """(M,) standard deviation of the brightness in each cell; ones for a cloud without colours."""
    if cloud.colors is None:
        return np.ones(len(cells))
    grey = cloud.colors.mean(axis=1, keepdims=True)
    squares = cells.mean(grey**2) - cells.mean(grey) ** 2
    return np.sqrt(np.maximum(squares[:, 0], 1e-3))


class _Cover:
    """Which pieces of a map (N, 3), z up, are seen from where, and the views that show them."""

    def __init__(self, level: Array, contrast: Array, camera: Camera) -> None:
        self.poses: list[Array] = []
        self._camera = camera
        self._occupancy = Occupancy(level)
        self._tree = cKDTree(level)
        self._floors = cKDTree(self._occupancy.floors() * _FLAT)
        self._surface = Surface.of(level, contrast, _SPACING, self._occupancy)
        self._pieces = cKDTree(self._surface.middles)
        self._seen = np.zeros((len(self._surface), len(DISTANCES) - 1, _DIRECTIONS), bool)

    def fits(self, positions: Array) -> NDArray[np.bool_]:
        """Which positions (P, 3) are free, and at a camera's height above a floor nearby."""
        if not len(positions):
            return np.zeros(0, bool)
        distance, _ = self._tree.query(positions, distance_upper_bound=CLEARANCE + 0.05)
        middle, half = sum(HEIGHTS) / 2, (HEIGHTS[1] - HEIGHTS[0]) / 2
        beneath = (positions - [0, 0, middle]) * _FLAT
        over, _ = self._floors.query(beneath, distance_upper_bound=half * _FLAT[2])
        return np.asarray(np.isinf(distance) & np.isfinite(over))

    def complete(self, number: int) -> None:
        """Take views for all pieces that are not yet seen from a distance, in random order."""
        poses, owner = self._candidates(number)
        starts = np.searchsorted(owner, np.arange(len(self._surface) + 1))
        for piece in np.random.default_rng(number).permutation(len(self._surface)):
            if not self._seen[piece, number].all():
                self.take_best(poses[starts[piece] : starts[piece + 1]])

    def take_best(self, poses: Array) -> None:
        """Take the one of the views (K, 4, 4) that adds the most, if it is enough."""
        best: tuple[Array, tuple[NDArray[np.int64], ...]] | None = None
        most = _MIN_GAIN
        for pose in poses:
            shown = self._shown(pose)
            gain = float(self._surface.weights[shown[0]] @ ~self._seen[shown])
            if gain >= most:
                best, most = (pose, shown), gain
        if best is not None:
            self.poses.append(best[0])
            self._seen[best[1]] = True

    def _candidates(self, number: int) -> tuple[Array, NDArray[np.int64]]:
        """Views (K, 4, 4) of pieces from one distance, and the pieces (K,), ascending."""
        surface, distance = self._surface, float(_CANDIDATES_AT[number])
        owner, yaws, pitches = _lines_of_sight(surface.normals)
        forward = _forward(yaws, pitches)
        positions = surface.middles[owner] - distance * forward
        good = self.fits(positions)
        good[good] = self._sees(positions[good], forward[good], distance)
        rows = np.flatnonzero(good)
        # some views of each piece, at random
        rng = np.random.default_rng(number)
        rows = rows[np.lexsort((rng.random(len(rows)), owner[rows]))]
        rank = np.arange(len(rows)) - np.searchsorted(owner[rows], owner[rows])
        rows = rows[rank < _TRIED]
        poses = [looking(positions[i], yaws[i], pitches[i]) for i in rows]
        return np.array(poses).reshape(-1, 4, 4), owner[rows]

    def _sees(self, starts: Array, directions: Array, distances: Array | float) -> NDArray[np.bool_]:
        sight = self._occupancy.sight(starts, directions, DISTANCES[-1])
        return np.asarray(sight >= np.asarray(distances) - _SURFACE)

    def _shown(self, pose: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The pieces (K,) that a view shows, their ranges of distance, and the sides that are seen."""
        surface, position = self._surface, pose[:3, 3]
        near = np.array(self._pieces.query_ball_point(position, DISTANCES[-1]), np.int64)
        x, y, z = transform_points(invert(pose), surface.middles[near]).T
        with np.errstate(divide="ignore", invalid="ignore"):
            u = self._camera.fx * x / z + self._camera.cx
            v = self._camera.fy * y / z + self._camera.cy
        inside = (z > 0) & (u >= 0) & (u < self._camera.width) & (v >= 0) & (v < self._camera.height)
        near = near[inside]
        rays = surface.middles[near] - position
        length = np.linalg.norm(rays, axis=1)
        rays /= length[:, None]
        facing = -(rays * surface.normals[near]).sum(axis=1)
        good = (length > DISTANCES[0]) & (facing > math.cos(_MAX_ANGLE))
        good[good] = self._sees(np.repeat(position[None], good.sum(), axis=0), rays[good], length[good])
        near, rays, length = near[good], rays[good], length[good]
        return near, np.searchsorted(DISTANCES, length) - 1, _side(surface.normals[near], rays)


def _lines_of_sight(normals: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """Views straight at pieces (P, 3): indices of the pieces, ascending, yaws and pitches (down)."""
    owners, yaws, pitches = [], [], []
    level = np.hypot(normals[:, 0], normals[:, 1]) > 0.3
    toward = np.arctan2(-normals[:, 1], -normals[:, 0])
    pieces = np.arange(len(normals))
    for yaw in _YAWS:
        for pitch in _PITCHES:
            yaw_ = np.where(level, toward, 0) + yaw
            pitch_ = np.full(len(yaw_), pitch)
            forward = _forward(yaw_, pitch_)
            good = -(forward * normals).sum(axis=1) > math.cos(_MAX_ANGLE)
            owners.append(pieces[good])
            yaws.append(yaw_[good])
            pitches.append(pitch_[good])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return owner[order], np.concatenate(yaws)[order], np.concatenate(pitches)[order]


def _forward(yaws: Array, pitches: Array) -> Array:
    """(K, 3) optical axes of cameras with yaws (K,) and downward pitches (K,)."""
    flat = np.cos(pitches)
    return np.stack([flat * np.cos(yaws), flat * np.sin(yaws), -np.sin(pitches)], axis=1)


def _side(normals: Array, rays: Array) -> NDArray[np.int64]:
    """(K,) whether pieces are seen from the left or the right; floors, from which half of the compass."""
    flat = np.hypot(normals[:, 0], normals[:, 1]) < 0.3
    turn = normals[:, 0] * rays[:, 1] - normals[:, 1] * rays[:, 0]
    return np.where(flat, rays[:, 0] > 0, turn > 0).astype(np.int64)
