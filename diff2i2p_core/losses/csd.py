"""Control-side score distillation (CSD): a rendered depth map judged by a depth-conditioned diffusion model.

`control` (the method): noise the image's latents, predict that noise eps with the rendered depth as the
ControlNet's condition c, and let the prediction's error reach the depth through the frozen networks,

    L = 1/2 w(t) |m (eps_hat(x_t, t, text, c) - eps)|^2,
    dL/dd = w(t) (d eps_hat/d c  d c/d d)^T m (eps_hat - eps).

The networks are constant, so no surrogate is needed: this is L's plain derivative. `released` follows the
released code, whose gradient is the noise residual itself, summed over the latent channels and written onto
the depth map as if the map were a latent (no network's derivative takes part), with its prompts swapped.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior

MODES = ("control", "released")
POSITIVE_PROMPT = "best quality, a photo of a room,furniture, household items"
NEGATIVE_PROMPT = "low-resolusion, bad anatomy, bad hands, cropped, worst quality"  # spelt as released
GUIDANCE = {"control": 1.0, "released": 4.0}


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
    """Scalar loss of rendered dense `depth` (B, H, W), metres with 0 where empty, differentiable in it.

    `truth_depth` (B, H', W') is the same of the true pose: its pixels say which latents count, and in
    `control` its range scales the control image. `latents` (B, 4, S, S) of the images.
    `guidance` 1 means none. `timestep` (B,), in the inclusive range, and `noise` like `latents` are drawn
    unless given. A sum over latents as in the released code, whose weight for it is 0.001.
    """
    if mode not in MODES:
        raise InputError(f"CSD mode '{mode}' is unknown; use one of {', '.join(MODES)}")
    latents = latents.to(depth.dtype)
    drawn_on = generator.device if generator is not None else latents.device
    if timestep is None:
        low, high = timestep_range
        timestep = torch.randint(low, high + 1, (len(latents),), generator=generator, device=drawn_on)
    if noise is None:
        noise = torch.randn(latents.shape, generator=generator, device=drawn_on)
    timestep, noise = timestep.to(latents.device), noise.to(latents)
    step = _Step(
        latents,
        noise,
        prior.noised(latents, noise, timestep),
        timestep,
        (1 - prior.alphas_cumprod[timestep]).to(depth.dtype)[:, None, None, None],
        resized(truth_depth, tuple(latents.shape[-2:])) > 0,
        prior.text(prompts[0]),
        prior.text(prompts[1]),
        GUIDANCE[mode] if guidance is None else guidance,
    )
    if mode == "released":
        return _released(prior, depth, step)
    return _control(prior, control_image(depth, truth_depth, prior.image_size), step)


class _Step(NamedTuple):
    """What was drawn and prepared for one evaluation of the loss."""

    latents: Tensor
    noise: Tensor
    noisy: Tensor
    timestep: Tensor
    weight: Tensor
    """w(t) = 1 - alpha_cumprod(t), (B, 1, 1, 1)."""
    mask: Tensor
    positive: Tensor
    negative: Tensor
    guidance: float


def _control(prior: DiffusionPrior, control: Tensor, step: _Step) -> Tensor:
    residuals = prior.control_residuals(step.noisy, step.timestep, step.positive, control)
    predicted = prior.predicted_noise(step.noisy, step.timestep, step.positive, residuals)
    if step.guidance != 1:
        with torch.no_grad():
            unguided = prior.predicted_noise(step.noisy, step.timestep, step.negative)
        predicted = unguided + step.guidance * (predicted - unguided)
    return 0.5 * (step.weight * step.mask * (predicted - step.noise).square()).sum() / len(control)


def _released(prior: DiffusionPrior, depth: Tensor, step: _Step) -> Tensor:
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


def control_image(depth: Tensor, truth_depth: Tensor, size: int) -> Tensor:
    """The ControlNet's condition (B, 3, size, size) of depths (B, H, W) in metres: inverse depth in [0, 1],
    near = bright, empty = black, as the depth ControlNets were trained.

    The nearest and farthest depth of `truth_depth` (B, H', W') become 1 and 0: a range that does not follow
    the pose under test, so that a shift in depth shows.
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


def resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, H, W) to (B, 1, *size): bilinear with antialiasing, as torchvision's resize."""
    return F.interpolate(images[:, None], size, mode="bilinear", align_corners=False, antialias=True)
