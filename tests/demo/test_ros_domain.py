"""Demos, live replays and test runs at the same time use different ROS domains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diff2i2p_core.demo.node_process import ros_environment
from diff2i2p_core.demo.ros_domain import DOMAINS, claim_domain

CLAIM = "from diff2i2p_core.demo.ros_domain import claim_domain; print(claim_domain(), flush=True); input()"


def test_runs_claim_different_domains() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM],
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


def test_the_processes_of_a_run_share_a_domain_that_tests_do_not_use(tmp_path: Path) -> None:
    first, second = (ros_environment(tmp_path)["ROS_DOMAIN_ID"] for _ in range(2))
    assert first == second != os.environ["ROS_DOMAIN_ID"]
