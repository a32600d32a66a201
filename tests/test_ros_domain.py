"""Test runs at the same time use different ROS domains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ros_domain
from ros_domain import DOMAINS, claim_domain

CLAIM = "import ros_domain; print(ros_domain.claim_domain(), flush=True); input()"


def test_runs_claim_different_domains() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM],
        cwd=Path(ros_domain.__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        taken = other.stdout.readline().strip()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpid", lambda: DOMAINS.index(int(taken)))
            mine = claim_domain()
        other.communicate("\n")
    assert mine != taken and other.returncode == 0
    assert {int(mine), int(taken)} <= set(DOMAINS)
