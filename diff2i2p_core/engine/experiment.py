"""The schema of an experiment. `config_file` reads it from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models.config import ModelConfig, PointFeatures, lite_config
from diff2i2p_core.models.released import released_config
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkSettings
from diff2i2p_core.pairs.joint_pairs import JointBenchmark
from diff2i2p_core.pairs.metadata import Layout
from diff2i2p_core.pairs.scene_pairs import PairSettings
from diff2i2p_core.settings import Section

ALTERNATIVES = (("steps", "epochs"), ("scenes", "benchmark"))
"""An experiment has exactly one setting of each group."""


class SceneConfig(Section):
    """A posed RGB-D folder, or a folder of such folders."""

    folder: Path
    frames: tuple[int, int] | None = None
    """First and last frame number to use."""
    weight: float = Field(default=1.0, ge=0)
    """Weight with which pairs are drawn from it. A folder of folders divides it among them."""


class ModelChoice(Section):
    """A preset, with any of its values replaced."""

    preset: Literal["lite", "full", "released"] = "lite"
    """`full` is the architecture of the published weights. `released` also normalises KPConv as they require
    (docs/method.md R9)."""
    point_features: PointFeatures = "rgb"
    mode: Literal["mono", "rgbd"] = "mono"
    init: Literal["own", "released"] = "own"
    """`released`: initial weights drawn as in the released code."""
    replace: dict[str, Any] = Field(default_factory=dict)
    """Values that replace those of the preset, nested like `ModelConfig`."""

    def build(self) -> ModelConfig:
        """The network's configuration. ValidationError, located in `ModelConfig`, if `replace` is invalid."""
        if self.preset == "lite":
            config = lite_config(self.point_features, self.mode)
        else:
            base = released_config() if self.preset == "released" else ModelConfig(name="full")
            config = base.model_copy(update={"mode": self.mode, "point_features": self.point_features})
        return ModelConfig.model_validate(merge(config.model_dump(), self.replace))


class OptimizerConfig(Section):
    """Optimizer and learning rate. The released training uses adam, lr 1e-4, step, weight_decay 1e-6,
    scale_lr, no warm-up and no clipping."""

    kind: Literal["adam", "adamw", "sgd"] = "adamw"
    """The weight decay of adam and sgd is an L2 term in the gradient; that of adamw is decoupled."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd."""
    lr: float = Field(default=6e-4, gt=0)
    backbone_lr: float = Field(default=1.0, gt=0)
    """Learning rate of a `timm` backbone, relative to that of all other layers."""
    scale_lr: bool = False
    """Multiply `lr`, then the rate for one pair, by the number of pairs per step."""
    schedule: Literal["cosine", "linear", "step", "exponential", "constant"] = "cosine"
    """cosine, linear: down to `final_lr` at the last step. step: multiplied by `gamma` after every
    `step_size` epochs. exponential: the same after every `step_size` steps, but not below `final_lr`."""
    final_lr: float = Field(default=1e-5, ge=0)
    gamma: float = Field(default=0.95, gt=0, le=1)
    step_size: int = Field(default=1, gt=0)
    warmup: int = Field(default=200, ge=0)
    """Number of steps with a linear warm-up."""
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: float | None = Field(default=1.0, gt=0)
    """Maximum norm of the gradient; null: no limit."""


class ValidationSettings(Section):
    """Held-out pairs that are registered during training and measured as in the papers.

    The pairs come from `scenes`, or else from the benchmark's validation subset.
    """

    scenes: tuple[SceneConfig, ...] = ()
    pairs: int | None = Field(default=24, gt=0)
    """Number of pairs, evenly spread over the benchmark's subset; null: all."""
    every: int | None = Field(default=None, gt=0)
    """Steps between validations; null: at the end of each epoch."""
    protocol: Layout = "7scenes"
    """The benchmark whose thresholds are used."""
    released: bool = False
    """Include the oddities of the released evaluation (docs/method.md R16, R20, R27)."""
    solver: Literal["paper", "poselib"] = "poselib"
    """`paper` is P3P with 50,000 iterations."""


class TrainConfig(Section):
    """One experiment: `steps` or `epochs` of training on pairs from `scenes` or a `benchmark`."""

    name: str = "lite-rgb"
    seed: int = Field(default=7351, ge=0)
    steps: int | None = Field(default=None, gt=0)
    """Optimizer steps."""
    epochs: int | None = Field(default=None, gt=0)
    """An epoch is each pair of a benchmark's training subset once, or `epoch_pairs` pairs of scenes."""
    epoch_pairs: int = Field(default=1000, gt=0)
    batch_size: int = Field(default=1, gt=0)
    """Number of pairs that a process handles at once."""
    accumulate: int = Field(default=1, gt=0)
    """Number of batches whose gradients are averaged in one step. A step uses batch_size * accumulate *
    processes pairs."""
    workers: int = Field(default=1, ge=0)
    """Processes that prepare pairs for one training process; 0: prepare them in the same process."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads of a training process; null: torch's default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: run the network (not the losses) under autocast, except on CPUs without instructions for it."""
    start_from: str | None = None
    """Weights to fine-tune: a file, or a shipped or fetched name. Only tuning and confidence may be missing
    in them."""
    image_weights: str | None = None
    """Pre-trained weights of a `timm` image backbone: a file, or `hub` to let timm download them."""
    model: ModelChoice = ModelChoice()
    pairs: PairSettings = PairSettings()
    losses: LossSettings = LossSettings()
    optimizer: OptimizerConfig = OptimizerConfig()
    scenes: tuple[SceneConfig, ...] = ()
    benchmark: BenchmarkSettings | None = None
    joint: tuple[JointBenchmark, ...] = ()
    """More benchmarks to train on. Validation and tests are on `benchmark` alone."""
    test_on: BenchmarkSettings | None = None
    """The benchmark for `diff2i2p test`; null: that of the training."""
    validation: ValidationSettings = ValidationSettings()
    log_every: int = Field(default=20, gt=0)
    """Steps per entry of the log, which has their mean losses."""
    inspect_every: int = Field(default=500, gt=0)
    """Steps between metrics and pictures of a training pair in TensorBoard."""
    save_every: int = Field(default=500, gt=0)
    """Steps between checkpoints."""
    save_epochs: int | None = Field(default=None, gt=0)
    """Keep the weights of every n-th epoch as `epoch-N.safetensors`; null: keep only best and last."""
    keep_last: int | None = Field(default=None, gt=0)
    """Number of `epoch-N.safetensors` to keep, the latest ones; null: all."""
    deterministic: bool = False
    """cuDNN chooses deterministic algorithms, as in the released training; slower."""
    detect_anomaly: bool = False
    """Name the operation that makes a gradient NaN; slow."""
    cache: Path | None = Path("~/.cache/diff2i2p/scenes")
    """Folder in which prepared scenes are cached; null: no cache."""
    output: Path = Path("runs")
    """The run's folder is output/name."""

    @model_validator(mode="after")
    def _one_of_each(self) -> TrainConfig:
        for group in ALTERNATIVES:
            names = [name for name in group if getattr(self, name)]
            if len(names) != 1:
                present = "both" if names else "neither"
                raise ValueError(f"give either {' or '.join(group)}; this has {present}")
        if self.joint and self.benchmark is None:
            raise ValueError("joint adds benchmarks to `benchmark`, which is missing; give it, too")
        if self.keep_last is not None and self.save_epochs is None:
            raise ValueError("keep_last has no epochs to keep; set save_epochs, too")
        if self.start_from is not None and self.image_weights is not None:
            raise ValueError(
                "give either start_from or image_weights; start_from already has an image branch"
            )
        return self


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`, nested dicts merged key by key."""
    merged = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        merged[key] = merge(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return merged
