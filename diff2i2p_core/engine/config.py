"""The schema of an experiment: YAML file, `key=value` overrides, and messages that name the nearest key."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from diff2i2p_core.data.pairs import PairSettings
from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models.config import ModelConfig, PointFeatures, Section, lite_config, released_config


class SceneConfig(Section):
    """A posed RGB-D folder, or a folder of such folders."""

    folder: Path
    frames: tuple[int, int] | None = None
    """First and last frame number that is used."""
    weight: float = Field(default=1.0, ge=0)
    """Share of the pairs drawn from it; a folder of folders divides it among them."""


class ModelChoice(Section):
    """A preset, with any of its values replaced."""

    preset: Literal["lite", "released"] = "lite"
    point_features: PointFeatures = "rgb"
    mode: Literal["mono", "rgbd"] = "mono"
    replace: dict[str, Any] = Field(default_factory=dict)
    """Values over the preset, nested as `ModelConfig` is."""

    def build(self) -> ModelConfig:
        if self.preset == "lite":
            config = lite_config(self.point_features, self.mode)
        else:
            config = released_config().model_copy(
                update={"mode": self.mode, "point_features": self.point_features}
            )
        return ModelConfig.model_validate(_merge(config.model_dump(), self.replace))


class OptimizerConfig(Section):
    """AdamW with linear warm-up and a cosine decay to `final_lr` over all steps."""

    lr: float = Field(default=6e-4, gt=0)
    final_lr: float = Field(default=1e-5, ge=0)
    warmup: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""


class TrainConfig(Section):
    """One experiment."""

    name: str = "lite-rgb"
    seed: int = 7351
    steps: int = Field(default=10_000, gt=0)
    batch_size: int = Field(default=1, gt=0)
    workers: int = Field(default=1, ge=0)
    threads: int | None = None
    """CPU threads of the main process; None leaves torch's choice."""
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the network (not the losses) under autocast."""
    start_from: str | None = None
    """Weights to fine-tune."""
    model: ModelChoice = ModelChoice()
    pairs: PairSettings = PairSettings()
    losses: LossSettings = LossSettings()
    optimizer: OptimizerConfig = OptimizerConfig()
    scenes: tuple[SceneConfig, ...]
    validation: tuple[SceneConfig, ...] = ()
    validation_pairs: int = 24
    validate_every: int = Field(default=1000, gt=0)
    log_every: int = Field(default=20, gt=0)
    save_every: int = Field(default=500, gt=0)
    cache: Path | None = Path("~/.cache/diff2i2p/scenes")
    """Where prepared scenes are kept; null keeps none."""
    output: Path = Path("runs")


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read an experiment's YAML and apply `section.key=value` overrides (values are YAML).

    Relative folders of scenes are meant from the current directory.
    """
    try:
        values: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a configuration file") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}); mend the file") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no settings; see training/configs for examples")
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise InputError(f"'{override}': an override is key=value, as optimizer.lr=0.001")
        target = values
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise InputError(f"'{override}': '{parent}' has no keys below it")
        target[last] = yaml.safe_load(text)
    try:
        config = TrainConfig.model_validate(values)
        config.model.build()
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error)}") from None
    return config


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = sorted({name for model in _sections() for name in model.model_fields})
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        return f"unknown key '{where}'" + (
            f"; did you mean '{near[0]}'?" if near else "; see `diff2i2p config dump`"
        )
    return f"'{where}': {first['msg'].lower()}; mend the value"


def _sections() -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = [TrainConfig, SceneConfig, ModelConfig]
    for model in found:
        for info in model.model_fields.values():
            kind = info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
                found.append(kind)
    return found


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = _merge(base[key], value) if isinstance(value, dict) and key in base else value
    return merged
