"""`diff2i2p prior`: from a file of settings to a folder for CSD, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from four_views import write_four_views
from in_process import Command

pytest.importorskip("diffusers", reason="needs the [train] extra")

SETTINGS = """
steps: 2
batch_size: 1
measured_frames: 2
cache: null
networks: {{size: 16, channels: [8, 16]}}
scenes: [{{folder: {room}}}]
unseen: [{{folder: {room}}}]
output: {output}
"""


def test_train_and_measure(command: Command, tmp_path: Path) -> None:
    write_four_views(tmp_path / "room")
    config = tmp_path / "small.yaml"
    config.write_text(SETTINGS.format(room=tmp_path / "room", output=tmp_path / "runs"))
    trained = command("prior", "train", config, "name=own")
    assert trained.status == 0
    *table, prior = trained.out.splitlines()
    folder = tmp_path / "runs/own/prior"
    assert prior == f"prior: {folder}" and (folder / "controlnet/config.json").is_file()
    assert [line.split(" | ")[0] for line in table[2:]] == [
        "| right", "| 5 cm, 1 deg", "| 15 cm, 3 deg", "| 45 cm, 9 deg", "| another frame's", "| none",
    ]  # fmt: skip
    for options in (("name=own",), ("--model", folder)):
        assert command("prior", "measure", config, *options).out.splitlines() == table
    gradient = command("prior", "gradient", config, "--model", folder)
    assert gradient.status == 0 and gradient.out.startswith("| CSD | pose off by |")
    assert sum(line.startswith("| released |") for line in gradient.out.splitlines()) == 3
    again = command("prior", "train", config, "name=own")
    assert again.status == 2 and "already holds a run" in again.err
    wrong = command("prior", "train", config, "networks.sice=8")
    assert wrong.status == 2 and "did you mean 'size'" in wrong.err
    assert len(wrong.err.splitlines()) == 1
