"""CSD of a batch: each cloud is rendered from its PnP pose and judged by a diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.losses.csd import csd_loss
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior, find_models
from diff2i2p_core.losses.pose import EstimatedPoses
from diff2i2p_core.losses.released import released_depth
from diff2i2p_core.losses.settings import CsdSettings
from diff2i2p_core.models.features import Correspondences, SubmapFeatures
from diff2i2p_core.ops.render import RenderedDepth, render_depth
from diff2i2p_core.pairs.pair import Pair

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class RenderedPair(NamedTuple):
    """The cloud from the estimated and from the true pose, each a batch of one."""

    estimated: RenderedDepth
    truth: RenderedDepth


class Distillation:
    """The CSD term. Its diffusion model is loaded at first use, on the device of the network."""

    def __init__(self, settings: CsdSettings, seed: int) -> None:
        """InputError if the models are not on this machine, so that it fails now and not at `start_epoch`."""
        find_models(*settings.sources)
        self.settings = settings
        self.seed = seed
        self._prior: DiffusionPrior | None = None

    def prior(self, device: torch.device) -> DiffusionPrior:
        """The frozen models on `device`."""
        settings = self.settings
        if self._prior is None:
            self._prior = DiffusionPrior.load(
                *settings.sources,
                device=device,
                dtype=DTYPES[settings.dtype],
                checkpointing=settings.checkpointing,
            )
        return self._prior

    def __call__(
        self,
        pairs: Sequence[Pair],
        submaps: Sequence[SubmapFeatures],
        matches: Sequence[Correspondences],
        poses: EstimatedPoses,
    ) -> dict[str, Tensor]:
        """Mean over the pairs. A pair without a usable pose, or with too little of its cloud in view, counts
        as zero.

        Noise, timestep and latents of a pair depend only on the seed and its number.
        """
        total = poses.rotation.sum() * 0  # always part of the graph
        used = 0
        for i, (pair, submap, correspondences) in enumerate(zip(pairs, submaps, matches, strict=True)):
            if not bool(poses.used[i]):
                continue
            generator = torch.Generator().manual_seed(_seed(self.seed, pair.index))
            pose = poses.camera_from_cloud[i]
            rendered = render_pair(pair, submap, correspondences, pose, self.settings, generator)
            if min(float(depth.visible) for depth in rendered) < self.settings.min_visible:
                continue
            total = total + self._pair(pair, rendered, generator)
            used += 1
        fraction = torch.tensor(used / len(pairs), device=total.device)
        return {"csd": (total / len(pairs)).float(), "csd_used": fraction}

    def _pair(self, pair: Pair, rendered: RenderedPair, generator: torch.Generator) -> Tensor:
        settings, depth = self.settings, rendered.estimated.depth
        prior = self.prior(depth.device)
        keys = None if pair.image_key is None else [pair.image_key]
        return csd_loss(
            prior,
            depth,
            rendered.truth.depth,
            prior.latents(pair.rgb[None] / 255, keys, generator),
            mode=settings.mode,
            guidance=settings.guidance,
            prompts=settings.prompts,
            timestep_range=settings.timesteps,
            generator=generator,
        )


def render_pair(
    pair: Pair,
    submap: SubmapFeatures,
    matches: Correspondences,
    camera_from_cloud: Tensor,
    settings: CsdSettings,
    generator: torch.Generator | None = None,
) -> RenderedPair:
    """The submap's points rendered from pose (4, 4) and from the true pose, as input of CSD. `generator`
    makes the random choices of the released rules."""
    points = submap.points.detach()
    if settings.deformed_points:
        points = matches.deformed(points)
    intrinsics = torch.from_numpy(pair.camera.matrix).to(points)
    truth = torch.from_numpy(pair.camera_from_cloud)

    def seen_from(pose: Tensor) -> RenderedDepth:
        size = (pair.camera.height, pair.camera.width)
        render = RENDERERS[settings.mode]
        return render(points[None], pose[None].to(points), intrinsics[None], size, settings, generator)

    return RenderedPair(seen_from(camera_from_cloud), seen_from(truth))


def soft_depth(
    points: Tensor,
    camera_from_cloud: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    settings: CsdSettings,
    generator: torch.Generator | None,
) -> RenderedDepth:
    """`render_depth` as configured. It makes no random choices."""
    del generator
    return render_depth(
        points,
        camera_from_cloud,
        intrinsics,
        size,
        scale=settings.render_scale,
        gamma=settings.render_gamma,
    )


Renderer = Callable[
    [Tensor, Tensor, Tensor, tuple[int, int], CsdSettings, "torch.Generator | None"], RenderedDepth
]
RENDERERS: dict[str, Renderer] = {"control": soft_depth, "released": released_depth}
"""Renderers by CSD mode."""


def _seed(seed: int, index: int) -> int:
    """The seed of the draws for pair `index`. It differs from that of the fine loss."""
    return int(np.random.SeedSequence([seed, index, 1]).generate_state(1, np.uint64)[0])
