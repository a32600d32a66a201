"""Results from the files that player and listener wrote."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diff2i2p_core.demo.demo_run import results
from diff2i2p_core.demo.heard import read_rows
from diff2i2p_core.demo.node_process import is_ready
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import exp, to_quaternion

TRUTH = exp([0.1, 0.2, 0.3, 1, 2, 3])


def transform(stamp: int, pose: np.ndarray, received: int, parent: str = "map") -> dict[str, Any]:
    return {
        "kind": "tf",
        "stamp": stamp,
        "parent": parent,
        "child": "camera",
        "translation": pose[:3, 3].tolist(),
        "quaternion": to_quaternion(pose).tolist(),
        "received": received,
    }


def diagnostics(stamp: str, level: int = 0, **values: str) -> dict[str, Any]:
    content = {"state": "active", "last_stamp": stamp, "inliers": "42", "inlier_ratio": "0.420", **values}
    return {"kind": "diagnostics", "level": level, "message": "words", "values": content, "received": 0}


def played(number: int, stamp: int) -> dict[str, Any]:
    return {"number": number, "stamp": stamp, "published": 1_000_000_000, "answered": True}


def test_poses_reasons_and_latencies_find_their_images() -> None:
    estimate = exp([0, 0, 0, 0.03, 0, 0]) @ TRUTH
    heard = [
        {"kind": "ready"},
        transform(5_000_000_007, np.eye(4), 0, parent="base_link"),
        transform(5_000_000_007, estimate, 1_250_000_000),
        diagnostics("5.000000007", reason="none"),
        diagnostics("5.100000000", reason="too few inliers (4)", inliers="4"),
    ]
    sample: Any = SimpleNamespace(frames=SimpleNamespace(pose=lambda number: TRUTH))
    rows = [played(600, 5_000_000_007), played(602, 5_100_000_000), played(604, 5_200_000_000)]
    found, refused, unanswered = results(sample, rows, heard)
    assert found.number == 600 and found.translation_error_m == pytest.approx(0.03)
    assert (found.latency_ms, found.num_inliers, found.reason) == (250.0, 42, "")
    assert refused.map_from_camera is None and refused.reason == "too few inliers (4)"
    assert refused.num_inliers == 4 and refused.latency_ms is None
    assert unanswered.map_from_camera is None and "no answer" in unanswered.reason


def test_half_a_line_is_not_read_yet(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "ready"}\n{"kind": "t')
    assert list(read_rows(path)) == [{"kind": "ready"}]


def test_ready_needs_the_connection_and_an_active_node(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert not is_ready(path)
    rows = [diagnostics("0.0", state="inactive"), {"kind": "ready"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not is_ready(path)
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, diagnostics("0.0", level=1)]))
    assert is_ready(path)


def test_a_node_that_cannot_be_configured_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(diagnostics("0.0", level=2, state="unconfigured")) + "\n")
    with pytest.raises(InputError, match="the ROS 2 node says: words"):
        is_ready(path)
