"""Procedural surface textures for the synthetic rooms: (rng, width, height) in metres to RGB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Texture = NDArray[np.uint8]
Material = Callable[[np.random.Generator, float, float], Texture]
Float = NDArray[np.float32]

TEXEL = 0.005
"""Metres per texel of large surfaces; about the footprint of a pixel at 2.6 m."""


def size_of(width: float, height: float) -> tuple[int, int]:
    """Texels (rows, columns) of a surface. Small objects get finer texels."""
    texel = TEXEL if max(width, height) > 1.0 else TEXEL / 2
    return max(8, round(height / texel)), max(8, round(width / texel))


def random_color(rng: np.random.Generator, low: float = 25, high: float = 235) -> Float:
    """A colour with a random hue. Saturations are those of furnished rooms, from grey to strong."""
    hue, saturation = rng.uniform(0, 180), 255 * rng.beta(1.6, 2.0)
    hsv = np.array([[[hue, saturation, rng.uniform(low, high)]]], np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def noise(rng: np.random.Generator, rows: int, columns: int, cells: float, stretch: float = 1.0) -> Float:
    """Smooth noise (rows, columns) in [-1, 1] with about `cells` cells along the longer side."""
    cell = max(rows, columns) / cells
    grid = rng.uniform(-1, 1, (int(rows / cell * stretch) + 3, int(columns / cell) + 3)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC))


def clouds(rng: np.random.Generator, rows: int, columns: int, cells: float = 3) -> Float:
    """Several octaves of noise (rows, columns), about within [-1, 1]."""
    total = np.zeros((rows, columns), np.float32)
    for octave in range(5):
        total += noise(rng, rows, columns, min(cells * 2**octave, max(rows, columns) / 2)) * 0.6**octave
    return total / 1.6


def finish(rng: np.random.Generator, image: Any, spots: float = 0.5) -> Texture:
    """Add wear to a float image (H, W, 3): stains of all sizes, grain, scuffs. Clipped to uint8."""
    rows, columns = image.shape[:2]
    wear = 12 * clouds(rng, rows, columns, rng.uniform(2, 6))
    wear += rng.normal(0, 2.5, (rows, columns)).astype(np.float32)
    image = np.ascontiguousarray(image + wear[..., None], np.float32)
    for _ in range(rng.poisson(spots * rows * columns * 2e-4)):
        center = int(rng.integers(columns)), int(rng.integers(rows))
        tone = float(rng.uniform(-40, 30))
        axes = int(rng.uniform(1, 8)), int(rng.uniform(1, 4))
        color = np.clip(image[center[1], center[0]] + tone, 0, 255)
        cv2.ellipse(image, center, axes, float(rng.uniform(0, 180)), 0, 360, color.tolist(), -1)
    pixels: Texture = np.clip(image, 0, 255).astype(np.uint8)
    return pixels


def plain(rows: int, columns: int, color: Float) -> Float:
    """An image (rows, columns, 3) of one colour."""
    return np.full((rows, columns, 3), color, np.float32)


def plaster(rng: np.random.Generator, width: float, height: float) -> Texture:
    rows, columns = size_of(width, height)
    base = plain(rows, columns, 0.3 * random_color(rng) + rng.uniform(120, 165))
    return finish(rng, base + 14 * clouds(rng, rows, columns, 4)[..., None], 0.6)


def painted(rng: np.random.Generator, width: float, height: float) -> Texture:
    rows, columns = size_of(width, height)
    return finish(rng, plain(rows, columns, random_color(rng, 60)), 0.6)


def paint(rng: np.random.Generator) -> Material:
    """A material with one colour, the same on all its surfaces."""
    color = random_color(rng, 60)

    def material(rng: np.random.Generator, width: float, height: float) -> Texture:
        rows, columns = size_of(width, height)
        return finish(rng, plain(rows, columns, color * rng.uniform(0.85, 1.1)), 0.6)

    return material


def wood(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Boards along the longer side, each with its own tone and grain."""
    rows, columns = size_of(width, height)
    if rows > columns:
        return np.ascontiguousarray(wood(rng, height, width).transpose(1, 0, 2))
    base = np.array([rng.uniform(70, 200), 0, 0], np.float32)
    base[1] = base[0] * rng.uniform(0.62, 0.8)
    base[2] = base[0] * rng.uniform(0.3, 0.6)
    board = max(6, int(rng.uniform(0.09, 0.2) / TEXEL))
    count = rows // board + 1
    tone = np.repeat(rng.uniform(0.72, 1.2, count), board)[:rows].astype(np.float32)
    warp = noise(rng, rows, columns, 6) * 2.5 + np.linspace(0, rows / 4, rows, dtype=np.float32)[:, None]
    grain = 0.09 * np.sin(warp * rng.uniform(1.5, 4)) + 0.1 * noise(rng, rows, columns, columns / 40, 14)
    image = base * (tone[:, None] * (1 + grain))[..., None]
    image[board - 1 :: board] *= 0.55
    for row in range(0, rows, board):
        for column in rng.integers(0, columns, rng.poisson(columns * TEXEL / 1.5)):
            image[row : row + board, column : column + 1] *= 0.55
    return finish(rng, image, 0.4)


def stripes(rng: np.random.Generator, width: float, height: float) -> Texture:
    rows, columns = size_of(width, height)
    along = columns if rng.random() < 0.7 else rows
    edges = np.cumsum(rng.integers(6, 40, along // 6 + 2))
    colors = np.stack([random_color(rng) for _ in range(int(rng.integers(2, 6)))])
    line = colors[np.searchsorted(edges, np.arange(along)) % len(colors)]
    image = np.broadcast_to(line[None] if along == columns else line[:, None], (rows, columns, 3))
    return finish(rng, image, 0.4)


def tiles(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Checkerboard or tiles with grout. Each tile has its own tone, and some have a motif."""
    rows, columns = size_of(width, height)
    side = max(6, int(rng.uniform(0.1, 0.45) / TEXEL))
    across = max(6, int(side * rng.choice([1.0, 1.0, 2.0])))
    grid = rows // side + 1, columns // across + 1
    first, second = random_color(rng, 60), random_color(rng, 60)
    parity = np.indices(grid).sum(0) % 2 if rng.random() < 0.5 else (rng.random(grid) < 0.15).astype(int)
    tone = rng.uniform(0.82, 1.12, grid)[..., None]
    cells = (np.where(parity[..., None] == 1, second, first) * tone).astype(np.float32)
    image = np.repeat(np.repeat(cells, side, 0), across, 1)[:rows, :columns].copy()
    if rng.random() < 0.5:
        motif = random_color(rng).tolist()
        for row, column in np.argwhere(rng.random(grid) < 0.35):
            center = int((column + 0.5) * across), int((row + 0.5) * side)
            cv2.circle(image, center, int(side * rng.uniform(0.15, 0.4)), motif, int(rng.choice([-1, 2, 3])))
    image[::side] *= 0.6
    image[:, ::across] *= 0.6
    return finish(rng, image, 0.4)


def carpet(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Nested borders around a field of random shapes, as on a rug."""
    rows, columns = size_of(width, height)
    image = plain(rows, columns, random_color(rng))
    shapes(rng, image, int(rng.integers(15, 45)))
    inset = 0
    for _ in range(int(rng.integers(1, 4))):
        thick = int(rng.uniform(0.02, 0.08) / TEXEL)
        box = (inset, inset), (columns - 1 - inset, rows - 1 - inset)
        cv2.rectangle(image, *box, random_color(rng).tolist(), 2 * thick)
        inset += 2 * thick
    return finish(rng, image * (1 + 0.1 * noise(rng, rows, columns, max(rows, columns) / 3))[..., None], 0.3)


def fabric(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Cloth with a weave and, often, dots or plaid."""
    rows, columns = size_of(width, height)
    image = plain(rows, columns, random_color(rng))
    kind = rng.integers(3)
    if kind == 0:
        for axis in range(2):
            band = (np.sin(np.arange(image.shape[axis]) * rng.uniform(0.1, 0.5)) > rng.uniform(0, 0.8)) * 1.0
            shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
            image += band.reshape(shape).astype(np.float32) * (random_color(rng) - 128) * 0.5
    elif kind == 1:
        color = random_color(rng).tolist()
        for _ in range(rows * columns // 350):
            center = int(rng.integers(columns)), int(rng.integers(rows))
            cv2.circle(image, center, int(rng.integers(2, 7)), color, -1)
    image += 14 * noise(rng, rows, columns, max(rows, columns) / 2.5)[..., None]
    return finish(rng, image + 16 * clouds(rng, rows, columns, 3)[..., None], 0.2)


def shapes(rng: np.random.Generator, image: Float, count: int) -> None:
    """Draw `count` random filled or outlined shapes into a float image, large ones first."""
    rows, columns = image.shape[:2]
    for index in range(count):
        center = rng.integers(0, [columns, rows])
        reach = min(rows, columns) * rng.uniform(0.04, 0.1 + 0.35 * (1 - index / count))
        color = random_color(rng, 10, 250).tolist()
        thick = int(rng.choice([-1, -1, 2, 4]))
        kind = rng.integers(4)
        if kind == 0:
            cv2.circle(image, center.tolist(), int(reach), color, thick)
        elif kind == 1:
            axes = int(reach), int(reach * rng.uniform(0.2, 0.8))
            cv2.ellipse(image, center.tolist(), axes, float(rng.uniform(0, 180)), 0, 360, color, thick)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            corners = center + reach * np.stack([np.cos(angles), np.sin(angles)], 1)
            if kind == 2 or thick > 0:
                cv2.polylines(image, [corners.astype(np.int32)], True, color, max(2, thick))
            else:
                cv2.fillPoly(image, [corners.astype(np.int32)], color)


def writing(rng: np.random.Generator, image: Float, lines: int) -> None:
    """Lines of random letters in random sizes."""
    rows, columns = image.shape[:2]
    letters = np.array(list("ABCDEFGHKLMNPRSTUVXYZ0123456789aeghkmnrst"))
    for _ in range(lines):
        text = "".join(rng.choice(letters, int(rng.integers(3, 14))))
        scale = float(min(columns / (len(text) * 20), rows / 60) * rng.uniform(0.5, 1.6))
        position = int(rng.uniform(0, 0.5) * columns), int(rng.uniform(0.12, 0.98) * rows)
        thick = max(1, round(2 * scale))
        ink = np.zeros((rows, columns), np.uint8)
        cv2.putText(ink, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, 1, thick)
        image[ink > 0] = random_color(rng, 5, 250)


WALLS: tuple[Material, ...] = (plaster, plaster, painted, stripes, tiles)
FLOORS: tuple[Material, ...] = (wood, wood, tiles, fabric)
SOLIDS: tuple[Material, ...] = (wood, wood, stripes, fabric)
