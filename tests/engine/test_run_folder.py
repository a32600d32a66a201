"""A run's files: complete or absent, and clear messages if they cannot be written or read."""

from __future__ import annotations

import multiprocessing
import resource
from pathlib import Path

import pytest
import torch

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.run_folder import RunFolder
from diff2i2p_core.engine.schedule import Schedule
from diff2i2p_core.engine.training_pairs import batches
from diff2i2p_core.errors import InputError
from diff2i2p_core.pairs.pair import Pair

CONFIG = TrainConfig.model_validate({"steps": 3, "scenes": [{"folder": "somewhere"}]})


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_checkpoint({"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(File too large\)"):
            folder.save_checkpoint({"step": 2, "model": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert folder.load_checkpoint()["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_broken_checkpoints(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_checkpoint({"step": 1, "model": torch.zeros(1000)})
    whole = folder.checkpoint.read_bytes()
    for content in (whole[:2000], b"", b"\x80\x02cposix\nsystem\n"):
        folder.checkpoint.write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint.pt: broken") as caught:
            folder.load_checkpoint()
        assert "\n" not in str(caught.value)


def test_a_resumed_log_has_each_step_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.start(CONFIG, 0)
    for step in (1, 2, 3):
        folder.log({"step": step})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    folder.start(CONFIG, 2)
    assert [record["step"] for record in folder.records()] == [1, 2]


class Refused(InputError):
    """An error whose arguments are not just a text."""


class Broken:
    """A source whose files cannot be read."""

    epoch_length = 10

    def __getitem__(self, n: int) -> Pair:
        raise Refused(f"pair {n}: broken file (InputError: none of ours); get it again", n)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_workers_error_arrives_as_it_was(workers: int) -> None:
    with pytest.raises(Refused) as caught:
        next(batches(Broken(), Schedule.of(CONFIG, 10, 1), 0, 0, workers))
    assert not multiprocessing.active_children()
    assert caught.value.args == ("pair 0: broken file (InputError: none of ours); get it again", 0)
