"""The settings of a small diffusion prior's training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from diff2i2p_core.engine.experiment import OptimizerConfig, SceneConfig
from diff2i2p_core.models.config import Count
from diff2i2p_core.settings import Section


class PriorNetworks(Section):
    """A UNet in pixel space, and a ControlNet that starts as a copy of its encoder."""

    size: int = Field(default=64, ge=16)
    """Rows and columns of the images; all are stretched to a square, as CSD does."""
    block: Literal[1, 2, 4] = 2
    """Blocks of so many pixels each way are one latent pixel (`losses.pixel_space`)."""
    channels: tuple[Count, ...] = (48, 96, 128)
    """Of the stages, each half as large as the one before; multiples of 8. The last has self-attention."""
    layers: Count = 1
    """Residual blocks per stage."""

    @model_validator(mode="after")
    def _divisible(self) -> PriorNetworks:
        halvings = self.block * 2 ** (len(self.channels) - 1)
        if self.size % halvings:
            raise ValueError(f"size must be a multiple of {halvings}, for this block and these channels")
        if any(width % 8 for width in self.channels):
            raise ValueError("channels must be multiples of 8")
        return self


class PriorConfig(Section):
    """Posed RGB-D frames to train on, and others to measure on."""

    name: str = "prior"
    seed: int = Field(default=7351, ge=0)
    steps: int = Field(default=5000, gt=0)
    batch_size: int = Field(default=8, gt=0)
    threads: int | None = Field(default=None, gt=0)
    """CPU threads; null: torch's default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "bf16"
    networks: PriorNetworks = PriorNetworks()
    scenes: tuple[SceneConfig, ...] = Field(min_length=1)
    unseen: tuple[SceneConfig, ...] = Field(min_length=1)
    """Frames for the measurement at the end, none of them in `scenes`."""
    measured_frames: int = Field(default=64, gt=1)
    """How many of them."""
    uncontrolled: float = Field(default=0.15, ge=0, lt=1)
    """Fraction of images that are denoised without their depth, so that the UNet alone is a prior, too."""
    timesteps: tuple[int, int] = (200, 999)
    """Smallest and largest step that is trained, of 1000. In images with less noise, depth says little that
    the image does not show."""
    average: float = Field(default=0.995, ge=0, lt=1)
    """The prior has the exponential average of the weights, with this decay per step."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, weight_decay=0.01)
    log_every: int = Field(default=20, gt=0)
    save_every: int = Field(default=250, gt=0)
    """Steps between checkpoints."""
    cache: Path | None = Path("~/.cache/diff2i2p/scenes")
    """Folder in which prepared scenes are cached; null: no cache."""
    output: Path = Path("runs")
    """The run's folder is output/name; the finished prior is in `prior` in it."""
