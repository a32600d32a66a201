"""The settings of a training of geometry features."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from diff2i2p_core.engine.experiment import SceneConfig
from diff2i2p_core.models.config import Count
from diff2i2p_core.settings import Section


class GeometryPlace(SceneConfig):
    """A posed RGB-D folder. Its cloud is fused from the same frames."""

    every: Count = 1
    """Every n-th frame is an image to match."""
    views: Count = 3
    """Renders near each image."""
    rings: bool = False
    """Whether to render what a spinning lidar would measure."""


class GeometryRooms(Section):
    """Synthetic rooms with much clutter."""

    seeds: str = "100:220"
    """First seed and end."""
    images: Count = 14
    """Per room."""
    views: Count = 2
    weight: float = Field(default=1.0, ge=0)
    """Of each room."""
    rings_every: Count = 5
    """Every n-th room is rendered as a spinning lidar would measure it."""


class GeometryRates(Section):
    """Learning rates."""

    new: float = Field(default=1e-3, ge=0)
    """Of layers that XFeat does not have."""
    shapes: float = Field(default=2e-4, ge=0)
    """Of XFeat's layers for renders."""
    photos: float = Field(default=5e-5, ge=0)
    """Of XFeat's layers for photos."""


class GeometryConfig(Section):
    """Photos and renders of the same point get the same descriptor, in many places."""

    name: str = "geometry-views"
    seed: int = Field(default=7351, ge=0)
    steps: int = Field(default=4000, gt=0)
    pairs: Count = 6
    """Pairs of a photo and a render in each step."""
    samples: Count = 200
    """Pixels of each pair."""
    papered: float = Field(default=0.7, ge=0, le=1)
    """Share of the photos whose surfaces get other pictures, so that shapes are learned, not looks."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: run the networks (not the losses) under autocast. On CPUs with instructions for it, a step takes
    two thirds of the time; others stay in fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, gt=0)
    """CPU threads; null: torch's default."""
    workers: int = Field(default=0, ge=0)
    """Processes that make batches beside the networks; a GPU needs some. 0: none."""
    start_from: str | None = None
    """Weights to fine-tune: a file, or `geometry-views`. Null: XFeat's."""
    rates: GeometryRates = GeometryRates()
    warm_up: int = Field(default=100, ge=0)
    """Steps with a linear warm-up."""
    places: tuple[GeometryPlace, ...] = ()
    rooms: GeometryRooms | None = None
    validation: tuple[GeometryPlace, ...] = ()
    """Places that nothing is trained on. The weights that work best there are kept as `best`."""
    validation_pairs: Count = 40
    """Pairs of each that are measured."""
    validate_every: int = Field(default=400, gt=0)
    """Steps, after which also a checkpoint is saved."""
    log_every: int = Field(default=20, gt=0)
    output: Path = Path("runs")
    """The run's folder is output/name. Prepared places are in `places` in it."""

    @model_validator(mode="after")
    def _has_places(self) -> GeometryConfig:
        if not self.places and self.rooms is None:
            raise ValueError("give `places` or `rooms` to train on")
        return self
