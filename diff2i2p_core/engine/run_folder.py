"""A run's files: the checkpoint to resume from, weights, settings and log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import atomic_path, write_text
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.weights.checkpoint import save_model


class RunFolder:
    """`checkpoint.pt`, `last`, `best` and `epoch-N` weights, `config.json`, `log.jsonl`, `tensorboard/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.pt"

    def weights(self, name: str) -> Path:
        return self.path / f"{name}.safetensors"

    def start(self, config: TrainConfig, step: int) -> None:
        """Write the settings; the log loses what an earlier, cut off attempt did after `step`."""
        with self.writing():
            write_text(self.path / "config.json", config.model_dump_json(indent=2))
            if (self.path / "log.jsonl").exists():
                kept = [record for record in self.records() if record["step"] <= step]
                write_text(self.path / "log.jsonl", "".join(json.dumps(record) + "\n" for record in kept))

    def refuse_if_used(self) -> None:
        if self.checkpoint.exists():
            raise InputError(f"{self.path}: holds a run already; resume it, or give this one another name")

    def log(self, record: dict[str, Any]) -> None:
        with self.writing(), (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Entries of the log, oldest first; a last line that was cut off is left out."""
        found = []
        for line in (self.path / "log.jsonl").read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        with self.writing(), atomic_path(self.checkpoint) as path, path.open("wb") as file:
            torch.save(state, file)

    def save_weights(self, model: Diff2I2P, name: str, notes: dict[str, str]) -> None:
        with self.writing():
            save_model(model, self.weights(name), notes)

    def load_checkpoint(self) -> dict[str, Any]:
        """On the CPU, whatever it was saved from: Adam counts its steps there, and would wait for a GPU to
        read each count."""
        if not self.checkpoint.exists():
            raise InputError(f"{self.checkpoint}: nothing to resume; start the run anew")
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = _first_line(error)
            raise InputError(
                f"{self.checkpoint}: broken ({reason}); start again, with start_from=.../last.safetensors"
            ) from None
        return state

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what goes wrong in writing, as a full disk, into one line."""
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            # torch and safetensors wrap what the system says.
            system = error if isinstance(error, OSError) else error.__context__
            reason = getattr(system, "strerror", None) or _first_line(error)
            raise InputError(
                f"{self.path}: cannot be written ({reason}); what was saved before is whole: make room, "
                "then resume the run"
            ) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__
