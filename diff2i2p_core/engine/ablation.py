"""Ablation: each correction of the released code is reverted alone, with the same data and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from diff2i2p_core.engine.experiment import TrainConfig, merge
from diff2i2p_core.engine.run_folder import RunFolder
from diff2i2p_core.engine.trainer import Trainer
from diff2i2p_core.errors import InputError

CORRECTED, RELEASED = "none", "all"


@dataclass(frozen=True)
class Rule:
    """The released rule that replaces one correction."""

    what: str
    overrides: dict[str, Any]
    """Nested like `TrainConfig`."""
    needs: str = ""
    applies: Callable[[TrainConfig], bool] = field(default=lambda config: True)
    """Whether it changes anything in an experiment. `needs` says in words when it does."""
    released: bool = True


def _tuned(config: TrainConfig) -> bool:
    return config.model.build().tuning


RULES = {
    "pose": Rule(
        "no pose loss; PnP with equal weights on all matches, with swapped pixels, and its gradient",
        {
            "losses": {
                "pose": {
                    "rotation_weight": 0.0,
                    "translation_weight": 0.0,
                    "pixel_order": "row_column",
                    "inlier_px": None,
                    "max_matches": None,
                    "score_temperature": None,
                    "gate_deg": None,
                    "gate_m": None,
                    "start": "released",
                    "gradient": "released",
                }
            }
        },
    ),
    "dct": Rule(
        f"no correspondence tuning; not a released rule, so it is not in `{RELEASED}`",
        {"model": {"replace": {"tuning": False}}},
        "tuning",
        _tuned,
        released=False,
    ),
    "confidence": Rule(
        f"scores by similarity alone; not a released rule, so it is not in `{RELEASED}`",
        {"model": {"replace": {"confidence": False}}},
        "model.replace.confidence=true",
        lambda config: config.model.build().confidence,
        released=False,
    ),
    "depthless": Rule(
        "include pixels and nodes without depth",
        {"losses": {"tuning": {"depthless_pixels": True}, "coarse": {"unknown_nodes": "negative"}}},
    ),
    "kpconv": Rule(
        "KPConv divides by the number of neighbours with a positive sum",
        {"model": {"replace": {"points": {"normalization": "positive_sum"}}}},
    ),
    "init": Rule(
        "initial weights drawn as released",
        {"model": {"init": "released"}},
        "training from scratch",
        lambda config: config.start_from is None,
    ),
    "negatives": Rule(
        "negatives are chosen by the smaller overlap",
        {"losses": {"coarse": {"negatives": "smaller"}}},
        "losses.coarse.kind=circle",
        lambda config: config.losses.coarse.kind == "circle",
    ),
    "deformed": Rule(
        "losses use the tuned points",
        {"losses": {"fine": {"deformed_points": True}, "csd": {"deformed_points": True}}},
        "tuning",
        _tuned,
    ),
    "csd": Rule(
        "the released gradient, prompts and rendering",
        {"losses": {"csd": {"mode": "released", "dtype": "fp32"}}},
        "losses.csd.weight above 0",
        lambda config: config.losses.csd.weight > 0,
    ),
    "no_csd": Rule(
        f"no CSD; not a released rule, so it is not in `{RELEASED}`",
        {"losses": {"csd": {"weight": 0.0}}},
        "losses.csd.weight above 0",
        lambda config: config.losses.csd.weight > 0,
        released=False,
    ),
    "correspondences": Rule(
        "true correspondences up to a row too low",
        {"benchmark": {"matching": "released"}},
        "a benchmark",
        lambda config: config.benchmark is not None,
    ),
    "augmentation": Rule(
        "uneven rotation axes and Gaussian shifts of training clouds",
        {"benchmark": {"augmentation": "released"}},
        "a benchmark",
        lambda config: config.benchmark is not None,
    ),
}


@dataclass(frozen=True)
class Result:
    """A finished run."""

    variant: str
    seed: int
    metrics: dict[str, float | None]
    """The validation mean at the last step."""
    loss: float
    """Mean training loss of the last steps."""
    seconds: float


def variants(base: TrainConfig, only: Sequence[str] = ()) -> dict[str, TrainConfig]:
    """Experiments by name: `none` (the corrected base), each applicable rule alone, and `all` of them.

    `only` selects some. `none` is always included for comparison. InputError for a name that is unknown or
    does not apply to the base.
    """
    applicable = {name: rule for name, rule in RULES.items() if rule.applies(base)}
    for name in only:
        if name in RULES and name not in applicable:
            raise InputError(f"'{name}' changes nothing in this experiment; it needs {RULES[name].needs}")
        if name not in (*RULES, CORRECTED, RELEASED):
            raise InputError(f"'{name}': no such rule; use {', '.join((CORRECTED, *RULES, RELEASED))}")
    changes: dict[str, dict[str, Any]] = {CORRECTED: {}, RELEASED: {}}
    for name, rule in applicable.items():
        changes[name] = rule.overrides
        if rule.released:
            changes[RELEASED] = merge(changes[RELEASED], rule.overrides)
    values = base.model_dump()
    return {
        name: TrainConfig.model_validate(merge(values, overrides))
        for name, overrides in changes.items()
        if not only or name in (CORRECTED, *only)
    }


def run_config(variant: str, config: TrainConfig, seed: int, steps: int) -> TrainConfig:
    """One run of `steps` steps, validated once at the end."""
    validation = config.validation.model_copy(update={"every": steps})
    update = {
        "name": f"{variant}-{seed}",
        "output": config.output / config.name,
        "seed": seed,
        "steps": steps,
        "epochs": None,
        "validation": validation,
        "inspect_every": steps,
        "save_epochs": None,
    }
    return config.model_copy(update=update)


def run_ablation(
    base: TrainConfig, steps: int, seeds: Sequence[int], only: Sequence[str] = ()
) -> Iterator[Result]:
    """Train every variant with every seed, one seed after another. Finished runs are read, others resume.

    The base needs held-out pairs.
    """
    if base.benchmark is None and not base.validation.scenes:
        raise InputError("validation: no held-out pairs; give validation.scenes")
    selected = variants(base, only)
    for seed in seeds:
        for name, config in selected.items():
            yield _run(name, run_config(name, config, seed, steps))


def _run(variant: str, config: TrainConfig) -> Result:
    folder = RunFolder(config.output / config.name)
    settings = folder.path / "config.json"
    if settings.exists() and settings.read_text(encoding="utf-8") != config.model_dump_json(indent=2):
        raise InputError(f"{folder.path}: a run with other settings; remove it, or choose another name=...")
    if not (settings.exists() and _finished(folder, config)):
        Trainer(config).run(resume=folder.checkpoint.exists())
    records = folder.records()
    losses = [record for record in records if "loss" in record]
    return Result(
        variant, config.seed, records[-1]["validation"]["mean"], losses[-1]["loss"], losses[-1]["seconds"]
    )


def _finished(folder: RunFolder, config: TrainConfig) -> bool:
    records = folder.records()
    return bool(records) and records[-1]["step"] == config.steps and "validation" in records[-1]
