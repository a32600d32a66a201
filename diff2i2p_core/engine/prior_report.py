"""Whether a diffusion prior has learned what depth says about an image: its error with the right depth, and
with wrong ones, on frames that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from diff2i2p_core.engine.prior_frames import condition, seen_depth, square
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.losses.csd_step import POSITIVE_PROMPT
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior
from diff2i2p_core.pairs.scenes import Scene
from diff2i2p_core.typing import Array

TIMESTEPS = (100, 300, 500, 700, 900)
MOVES = ((0.05, 1.0), (0.15, 3.0), (0.45, 9.0))
"""Metres and degrees, both in a random direction, of wrong poses."""
RIGHT = "right"


@dataclass(frozen=True)
class DenoisingError:
    """The error with one kind of depth."""

    depth: str
    mean: float
    """Mean squared error of the predicted noise."""
    by_timestep: tuple[float, ...]
    """The same for each of `TIMESTEPS`."""
    worse: float
    """Fraction of frames and timesteps with a larger error than with the right depth."""


def denoising_errors(
    prior: DiffusionPrior, scenes: Sequence[Scene], frames: int, seed: int = 0
) -> list[DenoisingError]:
    """Errors on frames that are evenly spread over the scenes: with the right depth first.

    The depth is that of the scene's cloud, rendered as in CSD. All kinds get the same noise and timesteps.
    """
    errors: dict[str, list[list[float]]] = {}
    for number, (image, controls) in enumerate(_controls(prior, scenes, frames, seed)):
        latents = prior.latents(image[None])
        for depth, control in controls.items():
            row = [_error(prior, latents, control, t, seed + number) for t in TIMESTEPS]
            errors.setdefault(depth, []).append(row)
    right = np.array(errors[RIGHT])
    return [
        DenoisingError(
            depth,
            float(np.mean(rows)),
            tuple(float(value) for value in np.mean(rows, axis=0)),
            float(np.mean(np.array(rows) > right)),
        )
        for depth, rows in errors.items()
    ]


def _controls(
    prior: DiffusionPrior, scenes: Sequence[Scene], frames: int, seed: int
) -> Iterator[tuple[Tensor, dict[str, Tensor | None]]]:
    """An image (3, S, S) and its conditions (3, S, S) by kind, for each frame; None: no ControlNet."""
    chosen = even_frames(scenes, frames)
    rng, size = np.random.default_rng(seed), prior.image_size
    for number, (scene, index) in enumerate(chosen):
        truth = seen_depth(scene, index)
        other = seen_depth(*chosen[(number + len(chosen) // 2) % len(chosen)])
        controls: dict[str, Tensor | None] = {RIGHT: condition(truth, truth, size)}
        for metres, degrees in MOVES:
            moved = seen_depth(scene, index, random_move(metres, degrees, rng))
            controls[move_name(metres, degrees)] = condition(moved, truth, size)
        controls["another frame's"] = condition(other, other, size)
        controls["none"] = None
        yield square(scene.images[index], size), controls


def even_frames(scenes: Sequence[Scene], count: int) -> list[tuple[Scene, int]]:
    """Scenes and numbers of frames, evenly spread."""
    every = [(scene, index) for scene in scenes for index in range(len(scene))]
    return [every[i * len(every) // count] for i in range(min(count, len(every)))]


def move_name(metres: float, degrees: float) -> str:
    return f"{100 * metres:.0f} cm, {degrees:.0f} deg"


def random_move(metres: float, degrees: float, rng: np.random.Generator) -> Array:
    """(4, 4) moved_from_camera: as far, and turned as far, in random directions."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    return compose(Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix(), metres * direction)


@torch.no_grad()
def _error(prior: DiffusionPrior, latents: Tensor, control: Tensor | None, timestep: int, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed * 1000 + timestep)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    steps = torch.tensor([timestep], device=latents.device)
    noisy, text = prior.noised(latents, noise, steps), prior.text(POSITIVE_PROMPT)
    residuals = None
    if control is not None:
        residuals = prior.control_residuals(noisy, steps, text, control[None].to(latents.device))
    return float((prior.predicted_noise(noisy, steps, text, residuals) - noise).square().mean())


def table(errors: Sequence[DenoisingError]) -> str:
    """As Markdown."""
    columns = ("depth", "mean", *(f"t = {t}" for t in TIMESTEPS), "worse than right, %")
    rows = [
        (
            e.depth,
            f"{e.mean:.5f}",
            *(f"{v:.5f}" for v in e.by_timestep),
            "" if e.depth == RIGHT else f"{100 * e.worse:.0f}",
        )
        for e in errors
    ]
    lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
