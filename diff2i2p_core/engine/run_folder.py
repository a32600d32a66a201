"""The files of a run: the checkpoint to resume from, weights, settings and log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from diff2i2p_core.errors import InputError, reason
from diff2i2p_core.io.files import atomic_path, write_text
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.settings import Section
from diff2i2p_core.weights.checkpoint import save_model


class RunFolder:
    """`checkpoint.pt`, `last`, `best` and `epoch-N` weights, `config.json`, `log.jsonl`, `tensorboard/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.pt"

    def weights(self, name: str) -> Path:
        return self.path / f"{name}.safetensors"

    def start(self, config: Section, step: int) -> None:
        """Write the settings, and remove entries after `step` from the log of an interrupted run."""
        with self.writing():
            write_text(self.path / "config.json", config.model_dump_json(indent=2))
            if (self.path / "log.jsonl").exists():
                earlier = [record for record in self.records() if record["step"] <= step]
                write_text(self.path / "log.jsonl", "".join(json.dumps(record) + "\n" for record in earlier))

    def refuse_if_used(self) -> None:
        if self.checkpoint.exists():
            raise InputError(f"{self.path}: already holds a run; resume it, or give this one another name")

    def log(self, record: dict[str, Any]) -> None:
        with self.writing(), (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Entries of the log, oldest first. An incomplete last line is left out."""
        entries = []
        for line in (self.path / "log.jsonl").read_text(encoding="utf-8").splitlines():
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return entries

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        with self.writing(), atomic_path(self.checkpoint) as path, path.open("wb") as file:
            torch.save(state, file)

    def save_weights(self, model: Diff2I2P, name: str, notes: dict[str, str]) -> None:
        with self.writing():
            save_model(model, self.weights(name), notes)

    def remove_old_epochs(self, keep: int) -> None:
        """Remove all `epoch-N` weights but those of the latest `keep` epochs."""
        epochs = {
            int(path.stem.removeprefix("epoch-")): path for path in self.path.glob("epoch-*.safetensors")
        }
        with self.writing():
            for number in sorted(epochs)[:-keep]:
                epochs[number].unlink()

    def load_checkpoint(self) -> dict[str, Any]:
        """Load on the CPU, wherever it was saved; networks and optimizers move it to their device."""
        if not self.checkpoint.exists():
            raise InputError(f"{self.checkpoint}: nothing to resume; start the run without resuming")
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(
                f"{self.checkpoint}: broken ({reason(error)}); "
                "start again with start_from=.../last.safetensors"
            ) from None
        return state

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors in writing, such as a full disk, into one line."""
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            # torch and safetensors wrap the system's error.
            system = error if isinstance(error, OSError) else error.__context__
            what = getattr(system, "strerror", None) or reason(error)
            raise InputError(
                f"{self.path}: cannot be written ({what}); what was saved is intact: free some space, "
                "then resume the run"
            ) from None
