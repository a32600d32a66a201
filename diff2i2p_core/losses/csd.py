"""Control-side score distillation (CSD): a rendered depth map judged by a depth-conditioned diffusion model.

`control` is our interpretation of the paper's abstract, the only part of the paper that we could read
(docs/method.md); the released code does something else. Add noise eps to the image's latents, predict it with
the rendered depth as the ControlNet's condition c, and back-propagate the error of the prediction through the
frozen networks to the depth,

    L = 1/2 w(t) |m (eps_hat(x_t, t, text, c) - eps)|^2,
    dL/dd = w(t) (d eps_hat/d c  d c/d d)^T m (eps_hat - eps).

The networks are constant, so no surrogate is needed: this is simply the derivative of L. `released` is the
rule of the released code (`released.released_csd`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diff2i2p_core.losses import released
from diff2i2p_core.losses.csd_step import NEGATIVE_PROMPT, POSITIVE_PROMPT, CsdStep, resized
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior
from diff2i2p_core.settings import look_up


def csd_loss(
    prior: DiffusionPrior,
    depth: Tensor,
    truth_depth: Tensor,
    latents: Tensor,
    *,
    mode: str = "control",
    guidance: float | None = None,
    prompts: tuple[str, str] = (POSITIVE_PROMPT, NEGATIVE_PROMPT),
    timestep_range: tuple[int, int] = (20, 980),
    timestep: Tensor | None = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Scalar loss of rendered dense `depth` (B, H, W) in metres (0 where empty), differentiable in it.

    `truth_depth` (B, H', W') is the same for the true pose. Its pixels decide which latents count, and in
    `control` its range scales the control image. `latents` (B, 4, S, S) are those of the images. `guidance` 1
    means none. `timestep` (B,), in the inclusive range, and `noise` like `latents` are drawn unless given.
    The loss is a sum over latents, as in the released code, which weights it by 0.001.
    """
    selected = look_up(MODES, mode, "CSD mode")
    latents = latents.to(depth.dtype)
    drawn_on = generator.device if generator is not None else latents.device
    if timestep is None:
        low, high = timestep_range
        timestep = torch.randint(low, high + 1, (len(latents),), generator=generator, device=drawn_on)
    if noise is None:
        noise = torch.randn(latents.shape, generator=generator, device=drawn_on)
    timestep, noise = timestep.to(latents.device), noise.to(latents)
    step = CsdStep(
        latents,
        noise,
        prior.noised(latents, noise, timestep),
        timestep,
        (1 - prior.alphas_cumprod[timestep]).to(depth.dtype)[:, None, None, None],
        resized(truth_depth, tuple(latents.shape[-2:])) > 0,
        prior.text(prompts[0]),
        prior.text(prompts[1]),
        selected.guidance if guidance is None else guidance,
    )
    return selected.loss(prior, depth, truth_depth, step)


def control_csd(prior: DiffusionPrior, depth: Tensor, truth_depth: Tensor, step: CsdStep) -> Tensor:
    control = control_image(depth, truth_depth, prior.image_size)
    residuals = prior.control_residuals(step.noisy, step.timestep, step.positive, control)
    predicted = prior.predicted_noise(step.noisy, step.timestep, step.positive, residuals)
    if step.guidance != 1:
        with torch.no_grad():
            unguided = prior.predicted_noise(step.noisy, step.timestep, step.negative)
        predicted = unguided + step.guidance * (predicted - unguided)
    return 0.5 * (step.weight * step.mask * (predicted - step.noise).square()).sum() / len(control)


class Mode(NamedTuple):
    """How the diffusion model's score becomes a loss."""

    loss: Callable[[DiffusionPrior, Tensor, Tensor, CsdStep], Tensor]
    """Takes depths (B, H, W), those of the true poses (B, H', W'), and what was drawn."""
    guidance: float
    """The default, if the settings have none."""


MODES = {
    "control": Mode(control_csd, 1.0),
    "released": Mode(released.released_csd, released.GUIDANCE),
}


def control_image(depth: Tensor, truth_depth: Tensor, size: int) -> Tensor:
    """The ControlNet's condition (B, 3, size, size) for depths (B, H, W) in metres: inverse depth in [0, 1],
    near = bright, empty = black, as in the training of depth ControlNets.

    The nearest and farthest depth of `truth_depth` (B, H', W') become 1 and 0. This range does not depend on
    the pose under test, so a shift in depth is visible.
    """
    with torch.no_grad():
        seen = truth_depth > 0
        inverse = torch.where(seen, 1 / torch.where(seen, truth_depth, 1), torch.nan).flatten(1)
        near = inverse.nan_to_num(-torch.inf).amax(1)[:, None, None]
        far = inverse.nan_to_num(torch.inf).amin(1)[:, None, None]
        usable = (near > far) & near.isfinite() & far.isfinite()
        near, far = torch.where(usable, near, 1), torch.where(usable, far, 0)
    filled = depth > 0
    brightness = (1 / torch.where(filled, depth, 1) - far) / (near - far)
    brightness = torch.where(filled, brightness.clamp(0, 1), 0)
    return resized(brightness, (size, size)).expand(-1, 3, -1, -1)
