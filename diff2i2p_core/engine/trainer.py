"""Training: steps over endless random pairs, with checkpoints, validation and TensorBoard."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.data import DataLoader, Subset

from diff2i2p_core.data.pair import Batch, collate
from diff2i2p_core.data.pairs import ScenePairs
from diff2i2p_core.data.scenes import Scene, load_scene
from diff2i2p_core.engine.config import SceneConfig, TrainConfig
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.engine.validation import register_pair, summarize
from diff2i2p_core.errors import InputError
from diff2i2p_core.files import atomic_path, write_text
from diff2i2p_core.models.checkpoint import load_model, save_model
from diff2i2p_core.models.diff2i2p import Diff2I2P


class Trainer:
    """One run in the folder `output/name`: `checkpoint.pt` to resume, `last` and `best` weights, logs.

    Pair number i of a run depends on the seed and i alone, so a resumed run sees the same pairs.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(auto if config.device == "auto" else config.device)
        self.folder = config.output / config.name
        if config.start_from is not None:
            self.model = load_model(config.start_from).train()
        else:
            self.model = Diff2I2P(config.model.build())
        if config.benchmark is not None or config.epochs is not None:
            raise InputError("benchmark, epochs: not trained yet; give scenes and steps")
        self.steps = config.steps or 0
        self.model.to(self.device)
        self.objective = Objective(
            self.model, config.losses, seed=config.seed, bf16=config.precision == "bf16"
        )
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        self.best = -math.inf

    def run(self, resume: bool = False) -> Path:
        """Train to the last step; returns the weights file of the last step."""
        from torch.utils.tensorboard import SummaryWriter

        config = self.config
        if resume:
            self._resume()
        elif (self.folder / "checkpoint.pt").exists():
            raise InputError(f"{self.folder}: holds a run already; use --resume, or another name=...")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "config.json", config.model_dump_json(indent=2))
        pairs = self._pairs(config.scenes, config.seed, augment=True)
        validation = (
            self._pairs(config.validation.scenes, config.seed + 1, augment=False)
            if config.validation.scenes
            else None
        )
        rest = Subset(pairs, range(self.step * config.batch_size, self.steps * config.batch_size))
        loader: DataLoader[Any] = DataLoader(
            rest,
            batch_size=config.batch_size,
            num_workers=config.workers,
            collate_fn=collate,
            worker_init_fn=_single_thread,
            prefetch_factor=4 if config.workers else None,
        )
        sums: dict[str, float] = defaultdict(float)
        counted = 0
        with SummaryWriter(str(self.folder / "tensorboard")) as writer, _progress() as progress:
            task = progress.add_task("training", total=self.steps, completed=self.step, note="")
            last = time.perf_counter()
            for batch in loader:
                for name, value in self.train_step(batch).items():
                    sums[name] += value
                counted += 1
                self.step += 1
                now = time.perf_counter()
                self.seconds, last = self.seconds + now - last, now
                if self.step % config.log_every == 0:
                    means = {name: value / counted for name, value in sums.items()}
                    for name, value in means.items():
                        writer.add_scalar(f"train/{name}", value, self.step)
                    self._log({"step": self.step, "seconds": round(self.seconds, 1), **means})
                    note = " ".join(f"{name} {means[name]:.3f}" for name in ("loss", "coarse", "fine"))
                    progress.update(task, completed=self.step, note=note)
                    sums.clear()
                    counted = 0
                if (
                    validation is not None
                    and self.step % (config.validation.every or config.epoch_pairs) == 0
                ):
                    self._validate(validation, writer)
                    last = time.perf_counter()
                if self.step % config.save_every == 0 or self.step == self.steps:
                    self._save()
        return self.folder / "last.safetensors"

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimizer step; the losses by name. FloatingPointError if the loss is not finite."""
        self.model.train()
        lr = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        losses = self.objective(batch.to(self.device), epoch=1)
        if not torch.isfinite(losses["loss"]):
            values = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
            raise FloatingPointError(
                f"not finite at step {self.step}: {values}; lower optimizer.lr or look at the data"
            )
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip or math.inf)
        self.optimizer.step()
        return {**{name: value.item() for name, value in losses.items()}, "gradient": norm.item(), "lr": lr}

    def _learning_rate(self) -> float:
        optimizer = self.config.optimizer
        if self.step < optimizer.warmup:
            return optimizer.lr * (self.step + 1) / optimizer.warmup
        done = (self.step - optimizer.warmup) / max(1, self.steps - optimizer.warmup)
        return optimizer.final_lr + 0.5 * (optimizer.lr - optimizer.final_lr) * (1 + math.cos(math.pi * done))

    def _pairs(self, scenes: tuple[SceneConfig, ...], seed: int, augment: bool) -> ScenePairs:
        loaded: list[Scene] = []
        weights: list[float] = []
        height = self.model.config.image.height or 480
        cache = None if self.config.cache is None else self.config.cache.expanduser()
        for scene in scenes:
            folders = [scene.folder]
            if scene.folder.is_dir() and not any(scene.folder.glob("frame-*.pose.txt")):
                folders = sorted(path for path in scene.folder.iterdir() if path.is_dir())
            for folder in folders:
                loaded.append(load_scene(folder, height, scene.frames, cache))
                weights.append(scene.weight / len(folders))
        if not loaded:
            raise InputError("scenes: none is given; name at least one posed RGB-D folder")
        config = self.config
        return ScenePairs(loaded, weights, self.model.config, config.pairs, seed=seed, augment=augment)

    def _validate(self, pairs: ScenePairs, writer: Any) -> None:
        self.model.eval()
        summary = summarize(
            register_pair(self.model, pairs[i]) for i in range(self.config.validation.pairs or 24)
        )
        for name, value in summary.items():
            writer.add_scalar(f"validation/{name}", value, self.step)
        self._log({"step": self.step, "validation": summary})
        score = summary["recall_010m_5deg"] + 1e-3 * summary["inlier_ratio"]
        if score > self.best:
            self.best = score
            self._write_weights("best")

    def _write_weights(self, name: str) -> None:
        notes = {"run": self.config.name, "step": str(self.step), "hours": f"{self.seconds / 3600:.2f}"}
        save_model(self.model, self.folder / f"{name}.safetensors", notes)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(self.folder / "checkpoint.pt") as path:
            torch.save(state, path)
        self._write_weights("last")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            raise InputError(f"{path}: nothing to resume; start the run without --resume")
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]

    def _log(self, values: dict[str, Any]) -> None:
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def _single_thread(worker: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
