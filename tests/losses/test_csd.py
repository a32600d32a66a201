from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_prior import FixedText, golden_prior, golden_vae
from PIL import Image
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.csd import control_image, csd_loss
from diff2i2p_core.losses.csd_step import NEGATIVE_PROMPT, POSITIVE_PROMPT
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior
from diff2i2p_core.ops.densify import densify
from diff2i2p_core.ops.render import render_depth
from diff2i2p_core.ops.z_buffer import z_buffer


def tiny_prior(parts: dict[str, Any], **options: Any) -> FixedText:
    for name in ("unet", "controlnet", "vae"):
        parts[name].double()
    parts = {**parts, "text_encoder": torch.nn.Identity(), "tokenizer": None}
    prior = FixedText(**parts, image_size=64, **options)
    generator = torch.Generator().manual_seed(9)
    embeddings = torch.randn(2, 1, 7, 16, generator=generator, dtype=torch.float64)
    prior.texts = {POSITIVE_PROMPT: embeddings[0], NEGATIVE_PROMPT: embeddings[1]}
    return prior


def rendered(seed: int = 0) -> Tensor:
    """Dense depth (2, 20, 26) between 1.2 and 3 m with an empty corner."""
    generator = torch.Generator().manual_seed(seed)
    depth = 1.2 + 1.8 * torch.rand(2, 20, 26, generator=generator, dtype=torch.float64)
    depth[:, :4, :5] = 0
    return depth


def drawn() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(4)
    latents, noise = torch.randn(2, 2, 4, 8, 8, generator=generator, dtype=torch.float64)
    return {"latents": latents, "noise": noise, "timestep": torch.tensor([150, 700])}


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_control_gradient_is_that_of_finite_differences(parts: dict[str, Any], guidance: float) -> None:
    prior = tiny_prior(parts)
    depth = rendered().requires_grad_()

    def loss(depth: Tensor) -> Tensor:
        return csd_loss(prior, depth, rendered(1), guidance=guidance, **drawn())

    (gradient,) = torch.autograd.grad(loss(depth), depth)
    assert gradient.isfinite().all()
    assert (gradient[:, :4, :5] == 0).all()
    largest = float(gradient.abs().max())
    for flat in gradient.abs().flatten().topk(6).indices.tolist():
        h = 1e-6
        up, down = depth.detach().clone(), depth.detach().clone()
        up.view(-1)[flat] += h
        down.view(-1)[flat] -= h
        with torch.no_grad():
            numeric = float(loss(up) - loss(down)) / (2 * h)
        assert float(gradient.flatten()[flat]) == pytest.approx(numeric, rel=1e-4, abs=1e-6 * largest)


def test_control_gradient_is_the_weighted_residual_through_both_networks(parts: dict[str, Any]) -> None:
    """w(t) (d eps_hat / d c)^T (eps_hat - eps), written out with the networks themselves."""
    prior, given = tiny_prior(parts), drawn()
    depth = rendered().requires_grad_()
    (gradient,) = torch.autograd.grad(csd_loss(prior, depth, rendered(1), **given), depth)

    control = control_image(depth, rendered(1), 64)
    alpha = parts["scheduler"].alphas_cumprod.double()[given["timestep"]][:, None, None, None]
    noisy = alpha.sqrt() * given["latents"] + (1 - alpha).sqrt() * given["noise"]
    text = prior.texts[POSITIVE_PROMPT].expand(2, -1, -1)
    down, middle = parts["controlnet"](noisy, given["timestep"], text, control, return_dict=False)
    estimate = parts["unet"](
        noisy,
        given["timestep"],
        text,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample
    seen = torch.nn.functional.interpolate(rendered(1)[:, None], (8, 8), mode="bilinear", antialias=True) > 0
    direction = ((1 - alpha) * seen * (estimate - given["noise"])).detach() / 2
    (expected,) = torch.autograd.grad(estimate, depth, direction)
    assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-12)
    assert (expected != 0).any()


def test_checkpointing_changes_no_gradient(make_parts: Callable[[], dict[str, Any]]) -> None:
    depth = rendered().requires_grad_()
    gradients = []
    for checkpointing in (False, True):
        prior = tiny_prior(make_parts(), checkpointing=checkpointing)
        (gradient,) = torch.autograd.grad(csd_loss(prior, depth, rendered(1), **drawn()), depth)
        gradients.append(gradient)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-12)


def test_weights_stay_frozen_and_draws_repeat_with_the_generator(parts: dict[str, Any]) -> None:
    prior = tiny_prior(parts)
    depth = rendered().requires_grad_()
    latents = drawn()["latents"]
    losses = [
        csd_loss(prior, depth, rendered(1), latents, generator=torch.Generator().manual_seed(seed)).detach()
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    csd_loss(prior, depth, rendered(1), latents).backward()
    for name in ("unet", "controlnet", "vae"):
        assert all(p.grad is None and not p.requires_grad for p in parts[name].parameters())


@pytest.mark.parametrize("mode", ["control", "released"])
def test_gradient_reaches_the_pose_that_rendered_the_depth(parts: dict[str, Any], mode: str) -> None:
    """Down to all of the pose with our rendering; the released one leaves the upper two rows without."""
    rng = np.random.default_rng(0)
    u, v = torch.from_numpy(rng.uniform(0, 127, (2, 1, 1500)))
    z = 2 + 0.5 * torch.sin(u / 20) * torch.cos(v / 15)
    k = torch.tensor([[120.0, 0, 63.5], [0, 120, 63.5], [0, 0, 1]], dtype=torch.float64)[None]
    points = torch.stack([(u - 63.5) / 120 * z, (v - 63.5) / 120 * z, z], dim=-1)
    pose = torch.eye(4, dtype=torch.float64)[None].requires_grad_()
    released = mode == "released"
    depth = render_depth(points, pose, k, (128, 128), scale=0.25, released=released).depth
    given = drawn()
    loss = csd_loss(
        tiny_prior(parts),
        depth,
        depth.detach(),
        given["latents"][:1],
        noise=given["noise"][:1],
        timestep=given["timestep"][:1],
        mode=mode,
    )
    (gradient,) = torch.autograd.grad(loss, pose)
    assert (gradient[0, 2] != 0).all()
    assert (gradient[0, :2] == 0).all() if released else (gradient[0, :2] != 0).all()


def test_control_image_is_bright_where_near() -> None:
    depth = torch.tensor([[[1.0, 2.0], [4.0, 0.0]]])
    image = control_image(depth, depth, 2)
    assert torch.allclose(image[0, 0], torch.tensor([[1.0, 1 / 3], [0.0, 0.0]]))
    assert image.shape == (1, 3, 2, 2)
    empty = torch.zeros(1, 4, 4)
    assert torch.equal(control_image(empty, empty, 4), torch.zeros(1, 3, 4, 4))


def test_an_unknown_mode_is_named(parts: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="use one of control, released"):
        csd_loss(tiny_prior(parts), rendered(), rendered(1), drawn()["latents"], mode="sds")


def test_released_mode_equals_the_released_code(golden_dir: Path) -> None:
    golden = dict(np.load(golden_dir / "csd.npz"))
    tensor = {name: torch.from_numpy(value) for name, value in golden.items() if value.ndim}
    prior = golden_prior(golden_dir)
    assert float(prior.alphas_cumprod[464]) == pytest.approx(float(golden["alpha_t"]))

    camera_from_cloud = tensor["transform_pred"].requires_grad_()
    in_camera = tensor["points"] @ camera_from_cloud[:3, :3].T + camera_from_cloud[:3, 3]
    sparse, _ = z_buffer(in_camera[None], tensor["K"], (480, 640), far=15.0, released=True)
    depth = densify(sparse, blur_sigma=float(golden["blur_sigma"]), released=True)
    loss = csd_loss(
        prior,
        depth,
        tensor["mask64"][0].float(),
        tensor["latents"],
        mode="released",
        timestep=tensor["t"],
        noise=tensor["noise"],
    )
    assert loss.detach().item() == pytest.approx(float(golden["sds_loss"]), rel=1e-5)
    (0.001 * loss).backward()
    assert camera_from_cloud.grad is not None
    np.testing.assert_allclose(camera_from_cloud.grad, golden["grad_T_pred"], rtol=1e-3, atol=1e-6)


def test_images_become_the_released_latents(
    golden_dir: Path, data_dir: Path, make_parts: Callable[[], dict[str, Any]]
) -> None:
    """The stored latents are one sample of the posterior of the stretched image."""
    golden = np.load(golden_dir / "csd.npz")
    image = np.asarray(
        Image.open(data_dir / "7scenes_mini" / "data" / str(golden["rgb_file"])).convert("RGB")
    )
    images = torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None]
    modules = make_parts()
    prior = DiffusionPrior(
        modules["unet"],
        modules["controlnet"],
        golden_vae(golden_dir),
        modules["scheduler"],
        torch.nn.Identity(),
        None,
    )
    prior.latents(images, ["image"])
    mean, deviation = prior._posteriors["image"]
    standard = (torch.from_numpy(golden["latents"]) / 0.18215 - mean) / deviation
    assert abs(float(standard.mean())) < 0.05
    assert float(standard.std()) == pytest.approx(1, abs=0.05)


def test_loads_from_local_folders_and_runs(model_folder: Path) -> None:
    prior = DiffusionPrior.load(str(model_folder / "base"), str(model_folder / "controlnet"))
    assert prior.image_size == 64
    text = prior.text("a photo of a room")
    assert text.shape == (1, 77, 16)
    assert prior.text("a photo of a room") is text
    images = torch.rand(2, 3, 48, 70)
    latents = prior.latents(images)
    assert latents.shape == (2, 4, 8, 8)
    depth = rendered().float().requires_grad_()
    csd_loss(prior, depth, rendered(1).float(), latents).backward()
    assert depth.grad is not None
    assert depth.grad.isfinite().all()


def test_bfloat16_weights_give_nearly_the_same_loss(model_folder: Path) -> None:
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        prior = DiffusionPrior.load(str(model_folder / "base"), str(model_folder / "controlnet"), dtype=dtype)
        depth = rendered().float().requires_grad_()
        losses.append(csd_loss(prior, depth, rendered(1).float(), **drawn()))
        losses[-1].backward()
        assert depth.grad is not None
        assert depth.grad.dtype == torch.float32
    assert losses[1].detach().item() == pytest.approx(losses[0].detach().item(), rel=0.05)


def test_image_posteriors_are_cached_within_a_bound(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = tiny_prior(parts, cached_images=2)
    calls: list[Tensor] = []
    encode = parts["vae"].encode

    def counted(images: Tensor) -> Any:
        calls.append(images)
        return encode(images)

    monkeypatch.setattr(parts["vae"], "encode", counted)
    images = torch.rand(3, 3, 64, 64)
    first = prior.latents(images[:1], ["a"], torch.Generator().manual_seed(0))
    again = prior.latents(images[:1], ["a"], torch.Generator().manual_seed(0))
    assert len(calls) == 1
    assert torch.equal(first, again)
    assert not torch.equal(first, prior.latents(images[:1], ["a"]))
    prior.latents(images[1:], ["b", "c"])
    prior.latents(images[:1], ["a"])  # pushed out by b and c
    assert len(calls) == 4


def test_velocity_predictions_become_noise(parts: dict[str, Any]) -> None:
    prior, given = tiny_prior(parts), drawn()
    prior.prediction_type = "v_prediction"
    noisy = prior.noised(given["latents"], given["noise"], given["timestep"])
    alpha = prior.alphas_cumprod[given["timestep"]][:, None, None, None]
    velocity = alpha.sqrt() * given["noise"] - (1 - alpha).sqrt() * given["latents"]
    unet = prior.unet
    prior.unet = torch.nn.Module()
    prior.unet.register_parameter("p", torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    prior.unet.forward = lambda *_, **__: (velocity,)
    estimate = prior.predicted_noise(noisy, given["timestep"], torch.zeros(1, 7, 16))
    prior.unet = unet
    assert torch.allclose(estimate, given["noise"])
