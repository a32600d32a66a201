"""Prepares the places of a training of geometry features, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from diff2i2p_core.engine.geometry_config import GeometryConfig, GeometryPlace
from diff2i2p_core.engine.place_renders import place_of_folder, place_of_room
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.pairs.render_pairs import Place
from diff2i2p_core.rooms.room import room_seeds
from diff2i2p_core.typing import Progress


def training_places(
    config: GeometryConfig, folder: Path, progress: Progress | None = None
) -> tuple[list[Place], list[float]]:
    """The places to train on and their weights. Files in `folder` keep what is prepared."""
    places = folder_places(config.places, folder, progress)
    weights = [place.weight for place in config.places]
    if config.rooms is not None:
        rooms = config.rooms
        seeds = room_seeds(rooms.seeds, "train")
        for done, seed in enumerate(seeds, start=1):
            rings = done % rooms.rings_every == 0
            key = f"room {seed} {rooms.images} {rooms.views} {rings}"
            make = partial(place_of_room, seed, images=rooms.images, views=rooms.views, rings=rings)
            places.append(_kept(folder, key, make))
            weights.append(rooms.weight)
            if progress is not None:
                progress("preparing rooms", done, len(seeds))
    if not sum(weights):
        raise InputError("all weights of the places are 0; give one a weight above 0")
    return places, weights


def folder_places(
    scenes: Sequence[GeometryPlace], folder: Path, progress: Progress | None = None
) -> list[Place]:
    return [
        _kept(folder, f"{scene.folder.resolve()} {scene}", partial(_prepared, scene, progress))
        for scene in scenes
    ]


def _prepared(scene: GeometryPlace, progress: Progress | None) -> Place:
    frames = PosedFrames(scene.folder)
    first, last = scene.frames or (frames.numbers[0], frames.numbers[-1])
    numbers = [number for number in frames.numbers if first <= number <= last]
    if not numbers:
        raise InputError(f"{scene.folder}: has no frames from {first} to {last}")
    images = numbers[:: scene.every]
    return place_of_folder(
        frames, numbers, images=images, views=scene.views, rings=scene.rings, progress=progress
    )


def _kept(folder: Path, key: str, make: Callable[[], Place]) -> Place:
    """The place of this key from its file, which is made first if need be."""
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        make().save(path)
    return Place.load(path)
