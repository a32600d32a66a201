"""Furniture for the synthetic rooms. Each piece has its back at y = 0 and its front towards -y, is centred at
x = 0 and stands on z = 0. Sizes are (width, depth, height) in metres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diff2i2p_core.rooms import pictures as pic
from diff2i2p_core.rooms import textures as tx
from diff2i2p_core.rooms.ray_casting import Rectangle, box, prism

Piece = list[Rectangle]
Builder = Callable[[np.random.Generator, float, float, float], Piece]


def _solid(rng: np.random.Generator) -> tx.Material:
    if rng.random() < 0.4:
        return tx.paint(rng)
    return tx.SOLIDS[int(rng.integers(len(tx.SOLIDS)))]


def small_things(rng: np.random.Generator, width: float, depth: float, z: float, room: float) -> Piece:
    """Bottles, tins, packages, books and pictures on a board of `width` x `depth` at height `z`, at most
    `room` metres tall."""
    piece: Piece = []
    x = -width / 2 + rng.uniform(0.02, 0.1)
    while x < width / 2 - 0.12:
        height = min(rng.uniform(0.08, 0.34), room * 0.92)
        y = -depth / 2 + rng.uniform(-0.2, 0.2) * depth
        kind = rng.random()
        if kind < 0.35:
            radius = rng.uniform(0.03, 0.07)
            piece += prism(rng, (x + radius, y, z + height / 2), radius, height, pic.label)
            x += 2 * radius
        elif kind < 0.6:
            length = min(rng.uniform(0.12, 0.45), width / 2 - x)
            piece += box(
                rng, (x + length / 2, y, z + height / 2), (length, 0.16, height), tx.painted, front=pic.books
            )
            x += length
        else:
            length = min(rng.uniform(0.08, 0.3), width / 2 - x)
            thick = min(rng.uniform(0.05, 0.2), depth * 0.8)
            kind_of = pic.label if rng.random() < 0.7 else pic.poster
            piece += box(rng, (x + length / 2, y, z + height / 2), (length, thick, height), kind_of)
            x += length
        x += rng.uniform(0.02, 0.25)
    return piece


def table(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    material, legs = _solid(rng), _solid(rng)
    piece = box(rng, (0, -depth / 2, height - 0.02), (width, depth, 0.04), material)
    for x in (-width / 2 + 0.05, width / 2 - 0.05):
        for y in (-0.05, -depth + 0.05):
            piece += box(rng, (x, y, height / 2 - 0.02), (0.06, 0.06, height - 0.04), legs)
    return piece + small_things(rng, width, depth, height, 0.4)


def desk(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    """A table with a monitor, a keyboard and drawers below."""
    piece = table(rng, width, depth, height)
    x = rng.uniform(-0.2, 0.2) * width
    size = rng.uniform(0.45, 0.7)
    piece += box(
        rng, (x, -0.2, height + 0.12 + 0.3 * size), (size, 0.04, 0.6 * size), tx.painted, front=pic.screen
    )
    piece += box(rng, (x, -0.2, height + 0.06), (0.08, 0.06, 0.12), tx.painted)
    piece += box(rng, (x, -depth + 0.18, height + 0.012), (0.42, 0.14, 0.024), tx.painted, top=pic.books)
    drawers = (width / 2 - 0.3, -depth / 2, (height - 0.06) / 2)
    return piece + box(rng, drawers, (0.42, depth * 0.8, height - 0.06), tx.painted, front=pic.fronts)


def shelf(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    material = _solid(rng)
    piece = box(rng, (0, -0.01, height / 2), (width, 0.02, height), _solid(rng))
    for x in (-width / 2 + 0.015, width / 2 - 0.015):
        piece += box(rng, (x, -depth / 2, height / 2), (0.03, depth, height), material)
    boards = max(2, round(height / rng.uniform(0.32, 0.45)))
    gap = height / boards
    for i in range(boards + 1):
        z = min(i * gap + 0.015, height - 0.015)
        piece += box(rng, (0, -depth / 2, z), (width, depth, 0.03), material)
        room = gap - 0.05 if i < boards else 0.35
        piece += small_things(rng, width - 0.08, depth, z + 0.015, room)
    return piece


def cabinet(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    piece = box(rng, (0, -depth / 2, height / 2), (width, depth, height), _solid(rng), front=pic.fronts)
    return piece + small_things(rng, width, depth, height, 0.4)


def kitchen(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    """A counter with doors, a tiled back wall, things on it and cupboards above."""
    piece = cabinet(rng, width, depth, height)
    piece += box(rng, (0, -0.01, height + 0.3), (width, 0.02, 0.6), tx.tiles)
    return piece + box(
        rng, (0, -0.18, height + 0.95), (width * 0.9, 0.36, 0.7), _solid(rng), front=pic.fronts
    )


def sofa(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    piece = box(rng, (0, -depth / 2, 0.21), (width, depth, 0.42), tx.fabric)
    piece += box(rng, (0, -0.1, height / 2), (width, 0.2, height), tx.fabric)
    for x in (-width / 2 + 0.09, width / 2 - 0.09):
        piece += box(rng, (x, -depth / 2, 0.3), (0.18, depth, 0.6), tx.fabric)
    for x in np.arange(-width / 2 + 0.45, width / 2 - 0.3, 0.55):
        piece += box(rng, (x, -0.3, 0.6), (0.4, 0.14, 0.36), tx.fabric, front=pic.poster)
    return piece


def bed(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    piece = box(rng, (0, -depth / 2, height / 2), (width, depth, height), tx.fabric, top=tx.carpet)
    piece += box(rng, (0, -0.04, 0.5), (width, 0.08, 1.0), _solid(rng), front=pic.poster)
    for x in (-width / 4, width / 4):
        piece += box(rng, (x, -0.35, height + 0.06), (width * 0.4, 0.4, 0.12), tx.fabric)
    return piece


def chair(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    seat, legs = (tx.fabric if rng.random() < 0.5 else _solid(rng)), _solid(rng)
    piece = box(rng, (0, -depth / 2, 0.44), (width, depth, 0.06), seat)
    piece += box(rng, (0, -0.02, (0.47 + height) / 2), (width, 0.04, height - 0.47), seat)
    for x in (-width / 2 + 0.03, width / 2 - 0.03):
        for y in (-0.03, -depth + 0.03):
            piece += box(rng, (x, y, 0.205), (0.04, 0.04, 0.41), legs)
    return piece


def plant(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    """A pot with foliage on three intersecting planes."""
    y, pot = -depth / 2, 0.3 * height
    piece = prism(rng, (0, y, pot / 2), 0.4 * width, pot, pic.label)
    for turn in np.pi * (np.arange(3) / 3 + rng.uniform()):
        half = 0.5 * width * np.array([np.cos(turn), np.sin(turn), 0])
        texture, mask = pic.leaves(rng, width, height - pot)
        top, down = np.array([0, y, height]), np.array([0, 0, pot - height])
        piece.append(Rectangle(top - half, 2 * half, down, texture, mask))
        piece.append(Rectangle(top + half, -2 * half, down, texture[:, ::-1], mask[:, ::-1]))
    return piece


def bin_or_box(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    if rng.random() < 0.5:
        return prism(rng, (0, -depth / 2, height / 2), min(width, depth) / 2, height, pic.label, 12)
    return box(rng, (0, -depth / 2, height / 2), (width, depth, height), pic.label, top=tx.wood)


def fridge(rng: np.random.Generator, width: float, depth: float, height: float) -> Piece:
    return box(rng, (0, -depth / 2, height / 2), (width, depth, height), tx.painted, front=pic.door)


AT_WALLS: tuple[tuple[Builder, tuple[float, float], tuple[float, float], tuple[float, float]], ...] = (
    (shelf, (0.7, 1.8), (0.25, 0.4), (1.0, 2.1)),
    (shelf, (0.7, 1.4), (0.25, 0.4), (0.8, 1.9)),
    (cabinet, (0.6, 1.6), (0.35, 0.6), (0.6, 1.3)),
    (kitchen, (1.4, 2.6), (0.55, 0.65), (0.86, 0.95)),
    (desk, (1.1, 1.8), (0.6, 0.8), (0.70, 0.76)),
    (table, (0.8, 1.6), (0.5, 0.8), (0.6, 0.8)),
    (sofa, (1.5, 2.3), (0.8, 0.95), (0.75, 0.95)),
    (bed, (1.2, 1.7), (1.9, 2.1), (0.4, 0.55)),
    (chair, (0.42, 0.5), (0.42, 0.5), (0.8, 1.0)),
    (plant, (0.4, 0.8), (0.4, 0.8), (0.8, 1.7)),
    (bin_or_box, (0.3, 0.6), (0.3, 0.5), (0.3, 0.7)),
    (fridge, (0.6, 0.7), (0.6, 0.7), (1.4, 2.0)),
)
"""Builders with their ranges of width, depth and height."""


def wall_hanging(
    rng: np.random.Generator, width: float, height: float, bottom: float, kind: tx.Material
) -> Piece:
    """A flat object on a wall: a picture, door or window, 2 to 4 cm thick."""
    thick = rng.uniform(0.02, 0.04)
    return box(rng, (0, -thick / 2, bottom + height / 2), (width, thick, height), tx.painted, front=kind)
