"""A synthetic building of rectangles: clouds of any size with known free space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.typing import Array

ROOM = (5.0, 6.0, 2.7)
"""Metres along the corridor, away from it, and up."""
CORRIDOR = 2.0
WALL = 0.2
STOREY = 3.0
POINTS_A_ROOM = 90_000
"""With 4 cm between points."""
DOOR = (1.0, 2.1)
ROOMS_A_STOREY = 40


@dataclass(frozen=True)
class Box:
    """The inner faces of a room or the outer faces of furniture, z up. `holes` are boxes cut out of them."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    holes: tuple[tuple[Array, Array], ...] = ()

    @property
    def area(self) -> float:
        x, y, z = np.subtract(self.high, self.low)
        return float(2 * (x * y + y * z + z * x))

    def points(self, rng: np.random.Generator, spacing: float) -> Array:
        """Points (N, 3) on the six faces."""
        low, size, faces = np.array(self.low), np.subtract(self.high, self.low), []
        for axis in range(3):
            u, v = (k for k in range(3) if k != axis)
            shape = [max(1, round(size[k] / spacing)) for k in (u, v)]
            grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 2)
            for end in (0.0, 1.0):
                unit = np.full((len(grid), 3), end)
                unit[:, [u, v]] = (grid + rng.uniform(0, 1, grid.shape)) / shape
                faces.append(low + unit * size)
        points = np.concatenate(faces)
        for first, last in self.holes:
            points = points[~((points > first) & (points < last)).all(axis=1)]
        return points

    def holds(self, positions: Array, margin: float = 0.0) -> NDArray[np.bool_]:
        """Whether positions (N, 3) are inside, at least `margin` metres from the faces."""
        inside = (positions > np.add(self.low, margin)) & (positions < np.subtract(self.high, margin))
        return np.asarray(inside.all(axis=1))


@dataclass(frozen=True)
class Building:
    """Storeys with rooms on both sides of a corridor; each has a door, a table and a cabinet."""

    spaces: list[Box]
    furniture: list[Box]

    @classmethod
    def of(cls, num_rooms: int) -> Building:
        spaces, furniture = list[Box](), list[Box]()
        for storey in range(math.ceil(num_rooms / ROOMS_A_STOREY)):
            here = min(ROOMS_A_STOREY, num_rooms - storey * ROOMS_A_STOREY)
            floor, doors = storey * STOREY, list[tuple[Array, Array]]()
            for number in range(here):
                side, x = number % 2, (number // 2) * (ROOM[0] + WALL)
                y = CORRIDOR + WALL if side else -ROOM[1] - WALL
                middle = x + ROOM[0] / 2 - DOOR[0] / 2
                gate = CORRIDOR if side else -WALL
                hole = (
                    np.array([middle, gate - 0.05, floor - 1e-6]),
                    np.array([middle + DOOR[0], gate + WALL + 0.05, floor + DOOR[1]]),
                )
                doors.append(hole)
                spaces.append(Box((x, y, floor), (x + ROOM[0], y + ROOM[1], floor + ROOM[2]), (hole,)))
                table = (x + 1.6, y + 2.4 + 0.2 * (number % 5), floor)
                furniture.append(Box(table, (table[0] + 1.6, table[1] + 0.8, floor + 0.75)))
                cabinet = (x + 0.02, y + 0.5 + 0.5 * (number % 7), floor)
                furniture.append(Box(cabinet, (cabinet[0] + 0.5, cabinet[1] + 1.2, floor + 1.9)))
            length = math.ceil(here / 2) * (ROOM[0] + WALL)
            spaces.append(Box((0, 0, floor), (length, CORRIDOR, floor + ROOM[2]), tuple(doors)))
        return cls(spaces, furniture)

    def free(self, positions: Array, margin: float = 0.0) -> NDArray[np.bool_]:
        """Whether positions (N, 3) are in a room, corridor or door, and not in a table or cabinet."""
        inside = np.any([space.holds(positions, margin) for space in self.spaces], axis=0)
        for door in {id(hole): hole for space in self.spaces for hole in space.holes}.values():
            inside |= ((positions > door[0] + margin) & (positions < door[1] - margin)).all(axis=1)
        taken = np.any([piece.holds(positions, -margin) for piece in self.furniture], axis=0)
        free: NDArray[np.bool_] = inside & ~taken
        return free

    def cloud(self, spacing: float = 0.04, seed: int = 0) -> PointCloud:
        """Points on all faces, with a pattern of colours and 5 mm of noise."""
        rng = np.random.default_rng(seed)
        points, colors = [], []
        for box in (*self.spaces, *self.furniture):
            on_box = box.points(rng, spacing)
            waves = rng.uniform(1, 6, (3, 3)) * rng.choice([-1, 1], (3, 3))
            colors.append((127 + 100 * np.sin(on_box @ waves + rng.uniform(0, 6, 3))).astype(np.uint8))
            points.append((on_box + rng.normal(0, 0.005, on_box.shape)).astype(np.float32))
        return PointCloud(np.concatenate(points), np.concatenate(colors))


def building_of(num_points: int) -> tuple[Building, PointCloud]:
    """A building and its cloud with about `num_points` points."""
    building = Building.of(max(1, round(num_points / POINTS_A_ROOM)))
    area = sum(box.area for box in (*building.spaces, *building.furniture))
    return building, building.cloud(math.sqrt(area / num_points))
