"""CSD of a batch: each cloud rendered from its PnP pose, judged by a diffusion model."""

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
    """The cloud from the estimated and from the true pose, a batch of one each."""

    estimated: RenderedDepth
    truth: RenderedDepth


class Distillation:
    """The CSD term. Its diffusion model is loaded at the first use, onto the device of the network."""

    def __init__(self, settings: CsdSettings, seed: int) -> None:
        """InputError if the models are not on this machine: better now than at `start_epoch`."""
        find_models(settings.base, settings.controlnet)
        self.settings = settings
        self.seed = seed
        self._prior: DiffusionPrior | None = None

    def prior(self, device: torch.device) -> DiffusionPrior:
        """The frozen models on `device`."""
        settings = self.settings
        if self._prior is None:
            self._prior = DiffusionPrior.load(
                settings.base,
                settings.controlnet,
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
        """Mean over the pairs, in which one without a usable pose or enough of its cloud in view counts zero.

        Noise, timestep and latents of a pair depend on the seed and its number alone.
        """
        total = poses.rotation.sum() * 0  # a part of the graph, whatever is used
        used = 0
        for i, (pair, submap, found) in enumerate(zip(pairs, submaps, matches, strict=True)):
            if not bool(poses.used[i]):
                continue
            generator = torch.Generator().manual_seed(_seed(self.seed, pair.index))
            rendered = render_pair(pair, submap, found, poses.camera_from_cloud[i], self.settings, generator)
            if min(float(depth.visible) for depth in rendered) < self.settings.min_visible:
                continue
            total = total + self._pair(pair, rendered, generator)
            used += 1
        share = torch.tensor(used / len(pairs), device=total.device)
        return {"csd": (total / len(pairs)).float(), "csd_used": share}

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
    """The submap's points from pose (4, 4) and from the true one, as CSD sees them. `generator` draws what
    the released rules leave to chance."""
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
    """`render_depth` as configured. Nothing in it is drawn."""
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
"""By mode of CSD."""


def _seed(seed: int, index: int) -> int:
    """Of the draws for pair `index`, other than those of the fine loss."""
    return int(np.random.SeedSequence([seed, index, 1]).generate_state(1, np.uint64)[0])
