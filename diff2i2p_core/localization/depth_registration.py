"""Registers the depth of a query to the surface of the map, near a pose, and judges the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import small_gicp
from numpy.typing import NDArray

from diff2i2p_core.geometry.se3 import compose, exp, invert, rigid, transform_points
from diff2i2p_core.localization.depth_cells import Comparison, DepthCells
from diff2i2p_core.localization.depth_view import DepthView
from diff2i2p_core.localization.query import Query
from diff2i2p_core.mapping.surface import OrientedCloud, Surface
from diff2i2p_core.typing import Array

_FAR = ((0.6, 8), (0.25, 8))
_ROUGH = ((0.3, 8),)
_FINE, _EXACT = ((0.15, 10), (0.08, 6)), ((0.04, 8),)
"""Maximum distances of matched points in metres, and iterations."""
_SOME = 500
"""Points until the last of these; then all."""
_MATCHED = 0.08
"""Metres between a point and its match in the map."""
_FEWEST = 11
"""Points near the surface, below which a pose is not moved: small_gicp warns."""
_ALIKE = 0.7
"""Minimum cosine of the normals of matched points."""
_NOISE, _NOISE_SQUARED = 0.01, 0.003
"""Metres, and metres per squared metre of distance: standard deviation of a right point from the surface."""
_PARALLEL = 16
"""Power of the cosine of the normals in the likeness, which is 0.5 at 17 degrees: about twice their noise."""
_LEAST_SIGMA = 0.005
"""Metres."""


@dataclass(frozen=True)
class DepthFit:
    """A pose to which depth was registered, and how well it fits."""

    map_from_camera: Array
    """(4, 4)."""
    comparison: Comparison
    closeness: float
    """0 to 1: how close the depth's points are to the map's surface, in the mean. It tells a place from
    others."""
    likeness: float
    """The same, but only for points whose normals are nearly parallel to the map's. A floor is close to the
    map's floor wherever the camera is turned, so this tells better which of several nearby poses is right."""
    weakest: float
    """How well the depth fixes the pose in the direction in which it does so least: the smallest eigenvalue
    of the mean normal equations, with rotations in units of the points' distance. 0: it slides freely."""
    sliding: tuple[Array, Array]
    """The motion in that direction: a twist (6,) of rotation and translation per metre, and the point (3,)
    in the map that it turns about."""
    covariance: Array
    """(6, 6) of independent errors, ROS order."""
    matched: NDArray[np.bool_]
    """(M,) which of the points below have a match in the map."""
    points: Array
    """(M, 3) depth points, camera frame."""
    feet: Array
    """(M, 3) their feet on the map's surface, map frame."""

    @property
    def quality(self) -> float:
        """0 to 1. Ranks poses of one image."""
        return self.likeness * self.comparison.agreement

    def slid(self, metres: float) -> Array:
        """The pose moved in the direction that the depth fixes least."""
        twist, middle = self.sliding
        to_middle = compose(np.eye(3), middle)
        return rigid(to_middle @ exp(metres * twist) @ invert(to_middle) @ self.map_from_camera)


class _Match(NamedTuple):
    """Points of a view at a pose, and the map's surface there."""

    points: Array
    """(M, 3) map frame."""
    normals: Array
    """(M, 3) of the surface."""
    offsets: Array
    """(M,) signed distance from it in metres."""
    cosines: Array
    """(M,) between both normals."""
    matched: NDArray[np.bool_]
    closeness: Array
    """(M,) 0 to 1."""


Fit = Callable[[Array], DepthFit]
"""Registers the query's depth near a pose (map_from_camera)."""


class DepthRegistration:
    """The registration of one query's depth."""

    def __init__(self, surface: Surface, view: DepthView, cells: DepthCells) -> None:
        self.surface, self.view = surface, view
        self._cells = cells

    @classmethod
    def of(cls, query: Query, surface: Surface) -> DepthRegistration | None:
        """For a query, computed once. None without depth, or if there is too little."""
        depth = query.depth
        if depth is None:
            return None

        def made() -> DepthRegistration | None:
            view = DepthView.of(depth, query.camera)
            return None if view is None else cls(surface, view, DepthCells(depth, query.camera))

        return query.computed("depth", made)

    def rough(self, start: Array) -> tuple[float, Array]:
        """The pose that few points give from a start that is off by at most 0.3 m, and the fraction of
        them that have a match there."""
        view = self.view
        pose = self._pulled(self.surface.coarse, view.few, start, _ROUGH)
        return float(self._match(pose, view.few).matched.mean()), pose

    def fit(self, start: Array) -> DepthFit:
        """The pose near a start that all points give."""
        pose = self._pulled(self.surface.fine, self.view.many[:_SOME], start, _FINE)
        return self.judged(self._pulled(self.surface.fine, self.view.many, pose, _EXACT))

    def from_afar(self, start: Array) -> DepthFit:
        """The same from a start that may be off by half a metre."""
        return self.fit(self._pulled(self.surface.coarse, self.view.few, start, _FAR))

    def judged(self, pose: Array) -> DepthFit:
        """How the depth fits at a pose."""
        rows = self.view.many
        match = self._match(pose, rows)
        points, matched = match.points, match.matched
        weakest, sliding, covariance = _precision(
            points[matched] - pose[:3, 3], match.normals[matched], match.offsets[matched]
        )
        return DepthFit(
            pose,
            self._cells.compare(self.surface, pose),
            float(match.closeness.mean()),
            float((match.closeness**1.5 * match.cosines**_PARALLEL).mean()),
            weakest,
            (sliding, points[matched].mean(axis=0) if matched.any() else pose[:3, 3]),
            covariance,
            matched,
            self.view.points[rows],
            points - match.offsets[:, None] * match.normals,
        )

    def _pulled(
        self, target: OrientedCloud, rows: NDArray[np.int64], start: Array, steps: Sequence[tuple[float, int]]
    ) -> Array:
        """The pose near a start to which points of the view are pulled."""
        points = self.view.points[rows]
        near = self.surface.is_near(transform_points(start, points), steps[0][0])
        few = np.count_nonzero(near) < _FEWEST
        return start if few else target.pull(small_gicp.PointCloud(points[near]), start, steps)

    def _match(self, pose: Array, rows: NDArray[np.int64]) -> _Match:
        surface, points = self.surface.fine, self.view.points[rows]
        placed = transform_points(pose, points)
        near = self.surface.is_near(placed, _MATCHED)
        nearest, distance = np.zeros(len(rows), np.int64), np.full(len(rows), np.inf)
        nearest[near], distance[near] = surface.nearest(placed[near])
        normals = surface.normals[nearest]
        offsets = ((placed - surface.points[nearest]) * normals).sum(axis=1)
        cosines = np.abs(((self.view.normals[rows] @ pose[:3, :3].T) * normals).sum(axis=1))
        matched = (cosines > _ALIKE) & (distance < _MATCHED)
        sigma = _NOISE + _NOISE_SQUARED * (points**2).sum(axis=1)
        closeness = matched * np.exp(-0.5 * np.square(offsets / sigma))
        return _Match(placed, normals, offsets, cosines, matched, closeness)


def _precision(arms: Array, normals: Array, offsets: Array) -> tuple[float, Array, Array]:
    """`weakest`, the twist of `sliding` and `covariance` of a `DepthFit`.

    From its matched points relative to the camera (M, 3), their normals in the map (M, 3) and distances to
    the surface (M,).
    """
    if len(arms) < 6:
        return 0.0, np.zeros(6), np.eye(6)
    jacobian = np.concatenate([normals, np.cross(arms, normals)], axis=1)
    # rotations about the points' middle, in units of their spread, are comparable with translations
    middle = arms.mean(axis=0)
    reach = max(1e-3, float(np.sqrt(np.square(arms - middle).sum(axis=1).mean())))
    centered = np.concatenate([np.cross(arms - middle, normals) / reach, normals], axis=1)
    values, vectors = np.linalg.eigh(centered.T @ centered / len(arms))
    sliding = vectors[:, 0] / np.repeat([reach, 1.0], 3)
    sigma = max(_LEAST_SIGMA, float(np.sqrt(np.square(offsets).mean())))
    normal_equations = jacobian.T @ jacobian + 1e-3 * np.eye(6)  # so that a free direction stays finite
    return float(values[0]), sliding, sigma**2 * np.linalg.inv(normal_equations)
