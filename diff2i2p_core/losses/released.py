"""CSD as in the released code: its loss, and the depth that it renders (docs/method.md R23 to R25)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.losses.csd_step import CsdStep, resized
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior
from diff2i2p_core.losses.settings import CsdSettings
from diff2i2p_core.ops.render import RenderedDepth, render_depth

GUIDANCE = 4.0
BLUR = (0.1, 2.0)
"""The densification draws the strength of its blur from this range in each call."""


def released_csd(prior: DiffusionPrior, depth: Tensor, truth_depth: Tensor, step: CsdStep) -> Tensor:
    """The gradient is the noise residual itself, summed over the latent channels and applied to the depth map
    as if the map were a latent (without the derivative of any network), with the prompts swapped.

    `truth_depth` is not used, except for the mask in `step`.
    """
    scaled = depth / (depth.amax((1, 2), keepdim=True) + 1e-8)
    square = resized(scaled, (prior.image_size, prior.image_size))
    with torch.no_grad():
        control = square.expand(-1, 3, -1, -1)
        residuals = prior.control_residuals(
            step.latents, step.timestep, step.negative, control, guess_mode=True
        )
        uncontrolled = prior.predicted_noise(step.noisy, step.timestep, step.positive)
        controlled = prior.predicted_noise(step.noisy, step.timestep, step.negative, residuals)
        predicted = uncontrolled + step.guidance * (controlled - uncontrolled)
        gradient = torch.nan_to_num(step.weight * (predicted - step.noise) * step.mask)
    small = F.interpolate(square, gradient.shape[-2:], mode="bilinear", align_corners=False).expand_as(
        gradient
    )
    return 0.5 * (small - (small - gradient).detach()).square().sum() / len(depth)


def released_depth(
    points: Tensor,
    camera_from_cloud: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    settings: CsdSettings,
    generator: torch.Generator | None,
) -> RenderedDepth:
    """The hard z-buffer at full size, and densification with a blur drawn by `generator`."""
    del settings  # they are for the soft render
    low, high = BLUR
    blur = low + (high - low) * torch.rand((), generator=generator).item()
    return render_depth(points, camera_from_cloud, intrinsics, size, released=True, blur_sigma=blur)
