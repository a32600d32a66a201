"""The frozen depth-conditioned diffusion model whose score CSD distils: Stable Diffusion 1.x or 2.x, or a
small one in pixel space from `engine.prior_trainer`.

It is loaded with diffusers and transformers from a local folder or the hub's cache. It is not trained with
the network and not part of any checkpoint. Only what CSD needs is kept: the VAE's decoder is dropped, the
text encoder stays on the CPU (each prompt is encoded once), and the VAE's posteriors of training images are
cached.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.errors import InputError, reason
from diff2i2p_core.losses.pixel_space import PixelBlocks

DEFAULT_BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
"""The hub's copy of runwayml/stable-diffusion-v1-5, which has been removed."""
DEFAULT_CONTROLNET = "lllyasviel/control_v11f1p_sd15_depth"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
BASE_FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "scheduler/scheduler_config.json",
)
"""The files that are used; the repositories hold many copies in other formats."""
CONTROLNET_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
_SPACE = ("vae", "text_encoder", "tokenizer")
"""Parts that a model in pixel space lacks, all of them."""


def find_models(base: str = DEFAULT_BASE, controlnet: str = DEFAULT_CONTROLNET) -> tuple[Path, Path]:
    """The folders of both models on this machine. Nothing is loaded or downloaded.

    Each is a local diffusers folder or a hub id in the hub's cache. InputError says what is missing.
    """
    for package in ("diffusers", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"the diffusion prior needs {package}; pip install 'diff2i2p_core[train]'")
    files: tuple[str, ...] = BASE_FILES
    if _in_pixel_space(Path(base).expanduser()):
        files = tuple(file for file in files if file.split("/")[0] not in _SPACE)
    return (
        _find_model(base, files, "base", DEFAULT_BASE),
        _find_model(controlnet, CONTROLNET_FILES, "controlnet", DEFAULT_CONTROLNET),
    )


def _in_pixel_space(folder: Path) -> bool:
    return (folder / "unet").is_dir() and not any((folder / part).exists() for part in _SPACE)


def _find_model(source: str, files: Sequence[str], argument: str, default: str) -> Path:
    from huggingface_hub import snapshot_download

    folder = Path(source).expanduser()
    wanted, reason = default, "no such folder"
    if not folder.is_dir() and _HUB_ID.fullmatch(source):
        wanted, reason = source, "not a folder, and not in the hub's cache"
        with contextlib.suppress(OSError, ValueError):
            folder = Path(snapshot_download(source, local_files_only=True))
    if folder.is_dir():
        missing = [file for file in files if not _is_there(folder, file)]
        if not missing:
            return folder
        reason = f"{missing[0]} is missing"
    raise InputError(
        f"diffusion prior {argument}='{source}': {reason}; with internet access, run `hf download {wanted} "
        f"{' '.join(files)} --local-dir FOLDER`, copy FOLDER to this machine and set {argument} to its path; "
        "`diff2i2p prior train` makes a small model without the internet"
    )


def _is_there(folder: Path, file: str) -> bool:
    """Whether the file, the index of its shards, or a newer single-file tokenizer exists."""
    whole = "tokenizer/tokenizer.json" if file.startswith("tokenizer/") else file
    return any((folder / name).exists() for name in (file, f"{file}.index.json", whole))


class DiffusionPrior:
    """UNet, ControlNet, VAE encoder and text encoder with frozen weights, on one device in one dtype."""

    def __init__(
        self,
        unet: nn.Module,
        controlnet: nn.Module,
        vae: nn.Module,
        scheduler: Any,
        text_encoder: nn.Module | None,
        tokenizer: Any,
        *,
        image_size: int = 512,
        checkpointing: bool = True,
        cached_images: int = 4096,
    ) -> None:
        """`scheduler` gives alphas_cumprod and the prediction type. `text_encoder`: None for a model without
        text. `image_size`: side of the square images that the model was trained on. `checkpointing`
        recomputes activations in the backward pass, so that `control` needs a quarter of the memory and a
        third more time. `cached_images`: size of the latent cache, with 128 kB of CPU memory per image at
        512 x 512."""
        if getattr(unet.config, "addition_embed_type", None) is not None:
            raise InputError(
                "diffusion prior: SDXL-class models are not supported (two text encoders); "
                "use Stable Diffusion 1.x or 2.x"
            )
        self.unet, self.controlnet, self.vae, self.text_encoder = unet, controlnet, vae, text_encoder
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.alphas_cumprod: Tensor = scheduler.alphas_cumprod.double()
        self.prediction_type: str = scheduler.config.prediction_type
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise InputError(
                f"diffusion prior: prediction type '{self.prediction_type}' is not supported; use epsilon"
            )
        for module in (unet, controlnet, vae, text_encoder):
            if module is not None:
                module.requires_grad_(False).eval()
        if checkpointing:
            unet.enable_gradient_checkpointing()  # type: ignore[operator]
            controlnet.enable_gradient_checkpointing()  # type: ignore[operator]
        self.cached_images = cached_images
        self._texts: dict[str, Tensor] = {}
        self._posteriors: OrderedDict[str, Tensor] = OrderedDict()

    @classmethod
    def load(
        cls,
        base: str = DEFAULT_BASE,
        controlnet: str = DEFAULT_CONTROLNET,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        checkpointing: bool = True,
        cached_images: int = 4096,
    ) -> DiffusionPrior:
        """Load the models found by `find_models`, in float16 or bfloat16 on a GPU."""
        base_folder, controlnet_folder = find_models(base, controlnet)
        from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        def part(load: Callable[..., Any], folder: Path, **options: Any) -> Any:
            try:
                return load(folder, local_files_only=True, **options)
            except (OSError, ValueError) as error:
                raise InputError(f"{folder}: cannot be loaded ({reason(error)}); download it again") from None

        safe = {"use_safetensors": True, "torch_dtype": dtype}
        unet: Any = part(UNet2DConditionModel.from_pretrained, base_folder / "unet", **safe)
        control: Any = part(ControlNetModel.from_pretrained, controlnet_folder, **safe)
        # The first of these convolutions keeps the size of the control image, each other one halves it.
        factor = 2 ** (len(control.config.conditioning_embedding_out_channels) - 1)
        vae: Any
        if _in_pixel_space(base_folder):
            vae, text_encoder, tokenizer = PixelBlocks(factor), None, None
            if unet.config.in_channels != vae.channels:
                raise InputError(
                    f"{base_folder}: has no vae and no text_encoder, but its unet is not in pixel space; "
                    "download it again"
                )
        else:
            vae = part(AutoencoderKL.from_pretrained, base_folder / "vae", **safe)
            vae.decoder = None
            text = base_folder / "text_encoder"
            text_encoder = part(CLIPTextModel.from_pretrained, text, use_safetensors=True)
            tokenizer = part(CLIPTokenizer.from_pretrained, base_folder / "tokenizer")
        prior = cls(
            unet,
            control,
            vae,
            part(DDIMScheduler.from_pretrained, base_folder / "scheduler"),
            text_encoder,
            tokenizer,
            image_size=factor * int(unet.config.sample_size),
            checkpointing=checkpointing,
            cached_images=cached_images,
        )
        return prior.to(device)

    def to(self, device: str | torch.device) -> DiffusionPrior:
        """Move the parts that run in each step. The text encoder stays where it is."""
        for module in (self.unet, self.controlnet, self.vae):
            module.to(device)
        self.alphas_cumprod = self.alphas_cumprod.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @torch.no_grad()
    def text(self, prompt: str) -> Tensor:
        """The prompt's last hidden state (1, L, C), encoded once. Zeros for a model without text."""
        if self.text_encoder is None:
            width: int = self.unet.config.cross_attention_dim  # type: ignore[assignment, union-attr]
            return torch.zeros(1, 1, width, device=self.device, dtype=self.dtype)
        if prompt not in self._texts:
            tokens = self.tokenizer(
                prompt, padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True,
                return_tensors="pt",
            )  # fmt: skip
            encoder = next(self.text_encoder.parameters()).device
            self._texts[prompt] = self.text_encoder(tokens.input_ids.to(encoder))[0]
        return self._texts[prompt].to(self.device, self.dtype)

    @torch.no_grad()
    def latents(
        self, images: Tensor, keys: Sequence[str] | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Samples (B, C, S, S), scaled, of the VAE's posterior for images (B, 3, H, W), RGB in [0, 1].

        Images are stretched to the model's square. With `keys` that identify the images, each is encoded once
        and its posterior is cached; a new sample is drawn each time.
        """
        posteriors: list[Tensor] = []
        for i in range(len(images)):
            key = None if keys is None else keys[i]
            posterior = None if key is None else self._posteriors.get(key)
            if posterior is None:
                size = (self.image_size, self.image_size)
                square = F.interpolate(images[i : i + 1].float(), size, mode="bilinear", align_corners=False)
                encoded = self.vae.encode((2 * square - 1).to(self.device, self.dtype)).latent_dist  # type: ignore[operator]
                posterior = torch.stack([encoded.mean, encoded.std], dim=1)[0].float().cpu()
            if key is not None:
                self._posteriors[key] = posterior
                self._posteriors.move_to_end(key)
                if len(self._posteriors) > self.cached_images:
                    self._posteriors.popitem(last=False)
            posteriors.append(posterior)
        mean, deviation = torch.stack(posteriors).unbind(1)
        noise = torch.randn(mean.shape, generator=generator, device=generator.device if generator else None)
        scale: float = self.vae.config.scaling_factor  # type: ignore[assignment, union-attr]
        return ((mean + deviation * noise.cpu()) * scale).to(self.device)

    def noised(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """Latents (B, C, S, S) after `timestep` (B,) steps of diffusion with this noise."""
        alpha = self.alphas_cumprod[timestep].to(latents.dtype)[:, None, None, None]
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def control_residuals(
        self, latents: Tensor, timestep: Tensor, text: Tensor, control: Tensor, *, guess_mode: bool = False
    ) -> list[Tensor]:
        """The ControlNet's residuals: those of the down blocks, then that of the middle block.

        `control` (B, 3, image_size, image_size) in [0, 1]. `guess_mode` reduces the early ones (diffusers).
        """
        down, middle = self.controlnet(
            latents.to(self.dtype),
            timestep,
            encoder_hidden_states=text.expand(len(latents), -1, -1),
            controlnet_cond=control.to(self.dtype),
            guess_mode=guess_mode,
            return_dict=False,
        )
        return [*down, middle]

    def predicted_noise(
        self, noisy: Tensor, timestep: Tensor, text: Tensor, residuals: list[Tensor] | None = None
    ) -> Tensor:
        """The UNet's estimate (B, C, S, S) of the noise in `noisy`, with the same dtype."""
        control = {}
        if residuals is not None:
            control = {
                "down_block_additional_residuals": tuple(residuals[:-1]),
                "mid_block_additional_residual": residuals[-1],
            }
        output: Tensor = self.unet(
            noisy.to(self.dtype),
            timestep,
            encoder_hidden_states=text.expand(len(noisy), -1, -1),
            return_dict=False,
            **control,
        )[0].to(noisy.dtype)
        if self.prediction_type == "epsilon":
            return output
        alpha = self.alphas_cumprod[timestep].to(noisy.dtype)[:, None, None, None]
        noise: Tensor = alpha.sqrt() * output + (1 - alpha).sqrt() * noisy
        return noise
