"""The output of a run: log, TensorBoard and a progress bar, from the main process only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diff2i2p_core.engine.run_folder import RunFolder
from diff2i2p_core.evaluation.benchmark_summary import BenchmarkSummary

SHOWN = ("rr", "fmr", "ir", "pir", "median_position_m", "median_rotation_deg")
"""Validation metrics shown on the terminal."""


class Means:
    """Running means by name. If a name is not always given, its mean is over the times it was."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.sums[name][0] += value
            self.sums[name][1] += 1

    def take(self, gathered: Iterable[Mapping[str, list[float]]]) -> dict[str, float]:
        """Means over the sums of all processes. Resets the sums."""
        total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for sums in gathered:
            for name, (value, count) in sums.items():
                total[name][0] += value
                total[name][1] += count
        self.sums.clear()
        return {name: value / count for name, (value, count) in total.items()}


class Records:
    """A context manager. Does nothing in processes other than the main one."""

    def __init__(self, folder: RunFolder, total: int, step: int, main: bool) -> None:
        self.folder, self.total, self.step, self.main = folder, total, step, main

    def __enter__(self) -> Records:
        self._stack = ExitStack()
        if self.main:
            from torch.utils.tensorboard import SummaryWriter

            with self.folder.writing():
                # Hide what an interrupted run wrote after its checkpoint.
                events = self.folder.path / "tensorboard"
                writer = SummaryWriter(str(events), purge_step=self.step + 1)
                self._writer = self._stack.enter_context(writer)
            self._progress = self._stack.enter_context(_progress())
            self._task = self._progress.add_task("", total=self.total, completed=self.step, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def training(self, step: int, epoch: int, means: Mapping[str, float], seconds: float) -> None:
        """Mean losses of the last steps."""
        if not self.main:
            return
        rounded = {name: float(f"{value:.6g}") for name, value in means.items()}
        self.folder.log({"step": step, "epoch": epoch, "seconds": round(seconds, 1), **rounded})
        self._scalars("train", means, step)
        note = " ".join(f"{name} {means[name]:.3f}" for name in ("loss", "coarse", "fine") if name in means)
        self._progress.update(self._task, description=f"epoch {epoch}", note=note)

    def advance(self, step: int) -> None:
        if self.main:
            self._progress.update(self._task, completed=step)

    def validation(self, step: int, epoch: int, summary: BenchmarkSummary) -> None:
        if not self.main:
            return
        self.folder.log({"step": step, "epoch": epoch, "validation": summary.as_json()})
        self._scalars("validation", summary.mean, step)
        shown = ", ".join(f"{name} {summary.mean[name]:.3g}" for name in SHOWN)
        self._progress.console.print(
            f"validation after step {step}: {shown}", highlight=False, soft_wrap=True
        )

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        if self.main:
            self._scalars(group, values, step)

    def _scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        with self.folder.writing():
            for name, value in values.items():
                if np.isfinite(value):
                    self._writer.add_scalar(f"{group}/{name}", value, step)

    def picture(self, name: str, rgb: Any, step: int) -> None:
        """An (H, W, 3) uint8 picture."""
        if self.main:
            with self.folder.writing():
                self._writer.add_image(name, rgb, step, dataformats="HWC")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
