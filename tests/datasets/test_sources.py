"""The registry of sources: a new one is one file and one entry, and the command has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from raw_layouts import recording, write_posed_folder
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.datasets.sources import SOURCES, SPLITS, find_source
from diff2i2p_core.pairs.metadata import read_metadata

NEW_SOURCE = '''
from diff2i2p_core.datasets.recording_frames import FolderRecording
from diff2i2p_core.datasets.sources import Source, SourceOptions


class Options(SourceOptions):
    sequence: str = "seq-01"
    """What the recording is called."""


SOURCE = Source(
    summary="Folders of a new kind.",
    path_help="Such a folder.",
    recordings=lambda path, work, options: [FolderRecording(path, "hall", options.sequence)],
    options=Options,
)
'''


@pytest.fixture
def new_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new_source.py").write_text(NEW_SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SOURCES, "new", "new_source")


def prepare(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["prepare", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return re.sub(r"\x1b\[[\d;]*m", "", result.stdout)


@pytest.mark.usefixtures("new_source")
def test_a_source_of_one_file_is_a_command(tmp_path: Path) -> None:
    assert re.search(r"new +Folders of a new kind\.", prepare("--help"))
    assert re.search(
        r"--sequence .*What the recording is called\. \[default: seq-01\]", prepare("new", "--help")
    )
    raw, out = write_posed_folder(tmp_path / "raw", recording(60)), tmp_path / "set"
    options = ("--sequence", "seq-07", "--window", 5, "--gap", 5, "--voxel", 0.05, "--processes", 1)
    assert "1 scenes, pairs: " in prepare("new", raw, out, *options)
    entries = read_metadata(out, "7scenes", "train")
    assert entries and all(entry.cloud_file.startswith("hall/seq-07/") for entry in entries)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_says_what_it_is(name: str) -> None:
    source = find_source(name)
    assert source.summary.endswith(".") and source.path_help.endswith(".")
    assert set(source.splits) <= set(SPLITS)
    described = {key: field.description for key, field in source.options.model_fields.items()}
    assert all(described.values()), described
