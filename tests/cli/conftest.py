"""`diff2i2p` as a function, and a benchmark for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from in_process import Command, Outcome
from small_benchmark import write_experiment

from diff2i2p_core.cli import main


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `diff2i2p` with these arguments in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["diff2i2p", *(str(a) for a in arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main.run()
        captured = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """The configuration of an experiment on a benchmark of three pairs, whose run has weights."""
    return write_experiment(tmp_path_factory.mktemp("benchmark"), tiny_weights)
