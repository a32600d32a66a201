"""Procedural pictures for the synthetic rooms: posters, labels, books, doors, windows, screens, plants.

Like the materials in `rooms.textures`, each takes (rng, width, height) in metres and returns RGB.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.rooms.textures import (
    Texture,
    clouds,
    finish,
    noise,
    painted,
    plain,
    random_color,
    shapes,
    size_of,
    wood,
    writing,
)


def poster(rng: np.random.Generator, width: float, height: float) -> Texture:
    """A picture or poster: a colourful gradient, shapes, text and a frame."""
    rows, columns = size_of(width, height)
    field = [clouds(rng, rows, columns, rng.uniform(1.5, 5)) for _ in range(3)]
    image = random_color(rng, 80) + np.stack(field, -1) * rng.uniform(30, 90)
    image = np.ascontiguousarray(image, np.float32)
    shapes(rng, image, int(rng.integers(4, 22)))
    writing(rng, image, int(rng.integers(0, 5)))
    if rng.random() < 0.8:
        frame = max(2, int(min(rows, columns) * rng.uniform(0.02, 0.08)))
        cv2.rectangle(image, (0, 0), (columns - 1, rows - 1), random_color(rng).tolist(), 2 * frame)
    return finish(rng, image, 0.1)


def label(rng: np.random.Generator, width: float, height: float) -> Texture:
    """The label of a package, bottle or tin: bands of colour, a sign and letters."""
    rows, columns = size_of(width, height)
    image = plain(rows, columns, random_color(rng))
    for _ in range(int(rng.integers(1, 4))):
        top = int(rng.integers(rows))
        image[top : top + int(rows * rng.uniform(0.08, 0.4)) + 1] = random_color(rng)
    shapes(rng, image, int(rng.integers(1, 5)))
    writing(rng, image, int(rng.integers(1, 3)))
    return finish(rng, image, 0.1)


def books(rng: np.random.Generator, width: float, height: float) -> Texture:
    """A row of book spines."""
    rows, columns = size_of(width, height)
    image = np.full((rows, columns, 3), 30, np.float32)
    left = 0
    while left < columns:
        thick, top = int(rng.integers(5, 20)), int(rows * rng.uniform(0, 0.3))
        spine = image[top:, left : left + thick]
        spine[:] = random_color(rng)
        for _ in range(int(rng.integers(1, 4))):
            band = int(rng.integers(max(1, rows - top)))
            spine[band : band + int(rng.integers(2, 14)), 1:-1] = random_color(rng)
        spine[:, :1] *= 0.5
        left += thick
    return finish(rng, image, 0.1)


def fronts(rng: np.random.Generator, width: float, height: float) -> Texture:
    """The front of a cabinet: doors and drawers with gaps and handles, in wood or paint."""
    image = (wood if rng.random() < 0.5 else painted)(rng, width, height).astype(np.float32, order="C")
    rows, columns = image.shape[:2]
    across, down = (
        max(1, round(width / rng.uniform(0.35, 0.6))),
        max(1, round(height / rng.uniform(0.25, 0.8))),
    )
    handle = random_color(rng).tolist()
    for i in range(across):
        for j in range(down):
            x0, x1 = columns * i // across, columns * (i + 1) // across - 1
            y0, y1 = rows * j // down, rows * (j + 1) // down - 1
            image[y0 : y1 + 1, x0 : x1 + 1] *= rng.uniform(0.85, 1.1)
            cv2.rectangle(image, (x0, y0), (x1, y1), (25, 25, 25), 2)
            middle = (x0 + x1) // 2, y0 + max(4, (y1 - y0) // 6)
            half = max(3, (x1 - x0) // 8)
            cv2.line(image, (middle[0] - half, middle[1]), (middle[0] + half, middle[1]), handle, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def door(rng: np.random.Generator, width: float, height: float) -> Texture:
    image = (wood if rng.random() < 0.5 else painted)(rng, width, height).astype(np.float32, order="C")
    rows, columns = image.shape[:2]
    for top in (0.06, 0.54):
        corners = (columns // 6, int(rows * top)), (columns * 5 // 6, int(rows * (top + 0.4)))
        cv2.rectangle(image, *corners, (image.mean((0, 1)) * rng.uniform(0.5, 0.8)).tolist(), 4)
    cv2.circle(image, (columns * 9 // 10, rows // 2), 6, random_color(rng, 120).tolist(), -1)
    cv2.rectangle(image, (0, 0), (columns - 1, rows - 1), (60, 55, 50), 12)
    return np.clip(image, 0, 255).astype(np.uint8)


def window(rng: np.random.Generator, width: float, height: float) -> Texture:
    """A bright sky over hills and houses, behind a frame with bars."""
    rows, columns = size_of(width, height)
    sky = np.linspace(255, 200, rows, dtype=np.float32)[:, None, None] * np.array(
        [0.8, 0.92, 1.0], np.float32
    )
    image = np.broadcast_to(sky, (rows, columns, 3)) + 18 * clouds(rng, rows, columns, 3)[..., None]
    image = np.ascontiguousarray(image, np.float32)
    for depth in range(3):
        skyline = rows * (0.5 + 0.12 * depth) + rows * 0.1 * noise(rng, 8, columns, rng.uniform(4, 20))[0]
        below = np.arange(rows)[:, None] > skyline
        image[below] = random_color(rng, 60, 190) * 0.6 + np.array([40, 60, 40], np.float32)
    for _ in range(int(rng.integers(1, 6))):
        corner = rng.integers(0, [columns, rows])
        end = corner + rng.integers(8, 50, 2)
        cv2.rectangle(image, corner.tolist(), end.tolist(), random_color(rng, 60).tolist(), -1)
    frame = rng.uniform(150, 250)
    for i in range(int(rng.integers(2, 4)) + 1):
        column = int(columns * i / 2)
        cv2.line(image, (column, 0), (column, rows), (frame, frame, frame * 0.95), 10)
    cv2.rectangle(image, (0, 0), (columns - 1, rows - 1), (frame, frame, frame * 0.95), 18)
    return finish(rng, image, 0.0)


def screen(rng: np.random.Generator, width: float, height: float) -> Texture:
    """A monitor with windows on it."""
    rows, columns = size_of(width, height)
    image = plain(rows, columns, random_color(rng, 40, 160))
    for _ in range(int(rng.integers(2, 6))):
        corner = rng.integers(0, [columns * 2 // 3, rows * 2 // 3])
        end = corner + rng.integers(10, [columns // 2 + 11, rows // 2 + 11])
        cv2.rectangle(image, corner.tolist(), end.tolist(), random_color(rng, 120, 250).tolist(), -1)
        for row in range(int(corner[1]) + 4, int(end[1]) - 3, 5):
            stop = int(rng.integers(corner[0] + 3, end[0]))
            cv2.line(image, (int(corner[0]) + 3, row), (stop, row), (40, 40, 50), 1)
    cv2.rectangle(image, (0, 0), (columns - 1, rows - 1), (20, 20, 20), 8)
    return finish(rng, image, 0.0)


def leaves(rng: np.random.Generator, width: float, height: float) -> tuple[Texture, NDArray[np.bool_]]:
    """A plant's foliage and its mask."""
    rows, columns = size_of(width, height)
    image = np.zeros((rows, columns, 3), np.float32)
    mask = np.zeros((rows, columns), np.uint8)
    root = np.array([columns / 2, rows - 1.0])
    for _ in range(int(rng.integers(25, 60))):
        tip = root + np.array([rng.uniform(-0.48, 0.48) * columns, -rng.uniform(0.2, 0.95) * rows])
        color = (np.array([rng.uniform(20, 110), rng.uniform(80, 190), rng.uniform(10, 80)])).tolist()
        angle = float(np.degrees(np.arctan2(tip[1] - root[1], tip[0] - root[0])) + rng.normal(0, 30))
        axes = int(columns * rng.uniform(0.06, 0.14)) + 2, int(columns * rng.uniform(0.02, 0.06)) + 2
        cv2.line(image, root.astype(int).tolist(), tip.astype(int).tolist(), color, 2)
        cv2.line(mask, root.astype(int).tolist(), tip.astype(int).tolist(), 1, 2)
        cv2.ellipse(image, tip.astype(int).tolist(), axes, angle, 0, 360, color, -1)
        cv2.ellipse(mask, tip.astype(int).tolist(), axes, angle, 0, 360, 1, -1)
    return np.clip(image, 0, 255).astype(np.uint8), mask.astype(bool)
