"""`diff2i2p` as a function."""

from __future__ import annotations

import sys

import pytest
from in_process import Command, Outcome

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
