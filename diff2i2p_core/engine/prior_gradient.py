"""Whether CSD leads a wrong pose to the truth: its gradient at wrong poses of unseen frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from diff2i2p_core.engine.prior_frames import RENDERED_ROWS, frame_submap, square
from diff2i2p_core.engine.prior_report import MOVES, even_frames, move_name, random_move
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.losses.csd import MODES, csd_loss
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior
from diff2i2p_core.losses.distillation import RENDERERS
from diff2i2p_core.losses.settings import CsdSettings
from diff2i2p_core.pairs.scenes import Scene
from diff2i2p_core.typing import Array

DRAWS = 8
"""Noises, and steps of the diffusion, per pose."""
STEPS = (250, 900)
"""The first and the last of these steps."""
LEVER = 1.5
"""Metres at which a turn moves points as far as a shift, for the angle between gradients and the way back."""


@dataclass(frozen=True)
class PoseGradient:
    """CSD's gradient at poses that are moved from the truth in a random direction and in the opposite one,
    against the way back."""

    mode: str
    move: str
    downhill: float
    """Fraction of single draws in which CSD falls along the way back. 0.5 is chance."""
    mean_downhill: float
    """The same of the mean over a pose's draws."""
    cosine: float
    """Between the steepest descent, of that mean, and the way back; the mean over the poses."""


def pose_gradients(
    prior: DiffusionPrior, scenes: Sequence[Scene], frames: int, seed: int = 0
) -> list[PoseGradient]:
    """For each mode and each of `MOVES`, on frames that are evenly spread over the scenes.

    All modes have the same poses, noises and steps.
    """
    results = []
    for mode in MODES:
        for number, (metres, degrees) in enumerate(MOVES):
            rng = np.random.default_rng([seed, number])
            single: list[bool] = []
            mean: list[bool] = []
            cosines: list[float] = []
            for frame, (scene, index) in enumerate(even_frames(scenes, frames)):
                moved = random_move(metres, degrees, rng)
                # Both directions, so that a push that is always the same counts as chance.
                for pose in (moved, invert(moved)):
                    gradients = _gradients(prior, scene, index, pose, mode, seed + frame)
                    back = _scaled_twist(invert(pose))
                    descent = -gradients.mean(0)
                    single.extend(gradients @ back < 0)
                    mean.append(bool(descent @ back > 0))
                    norm = np.linalg.norm(descent) * np.linalg.norm(back)
                    cosines.append(float(descent @ back / norm) if norm > 0 else 0.0)
            summary = float(np.mean(single)), float(np.mean(mean)), float(np.mean(cosines))
            results.append(PoseGradient(mode, move_name(metres, degrees), *summary))
    return results


def _gradients(
    prior: DiffusionPrior, scene: Scene, index: int, moved_from_camera: Array, mode: str, seed: int
) -> Array:
    """(DRAWS, 6) derivatives of CSD for turns, times `LEVER`, and shifts of the moved camera."""
    camera, generator = scene.camera, torch.Generator().manual_seed(seed)
    settings = CsdSettings(render_scale=RENDERED_ROWS / camera.height)
    points = torch.from_numpy(frame_submap(scene, index).points).float().expand(DRAWS, -1, -1)
    intrinsics = torch.from_numpy(camera.matrix).float().expand(DRAWS, -1, -1)
    size = (camera.height, camera.width)

    def seen_from(pose: Tensor) -> Tensor:
        return RENDERERS[mode](points, pose, intrinsics, size, settings, generator).depth

    twist = torch.zeros(DRAWS, 6, requires_grad=True)
    pose = torch.from_numpy(moved_from_camera).float()
    change = torch.einsum("bk,kij,jl->bil", twist, _generators(), pose)
    depth, truth = seen_from(pose + change), seen_from(torch.eye(4).expand(DRAWS, -1, -1))
    latents = prior.latents(square(scene.images[index], prior.image_size)[None]).expand(DRAWS, -1, -1, -1)
    noise = torch.randn(latents.shape, generator=generator)
    timestep = torch.linspace(*STEPS, DRAWS).long()
    loss = csd_loss(prior, depth, truth.detach(), latents, mode=mode, timestep=timestep, noise=noise)
    (gradient,) = torch.autograd.grad(loss, twist)
    numbers: Array = gradient.double().numpy() / ([LEVER] * 3 + [1.0] * 3)
    return numbers


def _generators() -> Tensor:
    """(6, 4, 4) derivatives of a rigid transform for its turn and its shift."""
    generators = torch.zeros(6, 4, 4)
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        generators[axis, j, i], generators[axis, i, j] = 1, -1
        generators[3 + axis, axis, 3] = 1
    return generators


def _scaled_twist(pose: Array) -> Array:
    """(6,) turn, in radians times `LEVER`, and shift of a small motion."""
    turn = Rotation.from_matrix(pose[:3, :3]).as_rotvec()
    return np.concatenate([LEVER * turn, pose[:3, 3]])


def gradient_table(gradients: Sequence[PoseGradient]) -> str:
    """As Markdown."""
    lines = [
        f"| CSD | pose off by | falls towards the truth, one draw, % | mean of {DRAWS}, % | cosine |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for g in gradients:
        numbers = f"{100 * g.downhill:.0f} | {100 * g.mean_downhill:.0f} | {g.cosine:+.2f}"
        lines.append(f"| {g.mode} | {g.move} | {numbers} |")
    return "\n".join(lines)
