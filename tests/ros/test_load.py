"""More images than the node can process: memory is constant, poses are of the newest image, no queue grows.

With DIFF2I2P_LOAD_SECONDS=600 it is the run of docs/benchmarks.md; its numbers are printed with `-s`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]
pytest.importorskip("rclpy")

from ros_harness import CAMERA_FRAME, Robot, stamp_of, wait_for
from sensor_msgs.msg import CameraInfo, Image

from diff2i2p.poses import stamp_from

SECONDS = float(os.environ.get("DIFF2I2P_LOAD_SECONDS", "12"))
RATE, DELAY = 60.0, 0.25
WIDTH, HEIGHT = 640, 480


def resident_mb(pid: int) -> dict[str, float]:
    """Private, and shared (DDS's segments, the libraries' files)."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    own, *shared = (int(status[f"Rss{name}"].split()[0]) / 1e3 for name in ("Anon", "Shmem", "File"))
    return {"own": round(own, 1), "shared": round(sum(shared), 1)}


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(float(np.median(values)), 1),
        "p95": round(float(np.percentile(values, 95)), 1),
        "max": round(max(values), 1),
    }


def test_images_at_60_hz_on_a_node_that_needs_250_ms(
    robot: Robot, run_node: Callable[..., Popen[str]], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_DELAY", str(DELAY))
    node = run_node("scripted_node.py", map=map_file)
    ages: list[float] = []
    robot.pose_subscription.callback = lambda pose: ages.append((time.time_ns() - stamp_of(pose)) / 1e6)
    k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    robot.wait_camera_matched(60)
    robot.calibrate(CameraInfo(width=WIDTH, height=HEIGHT, k=k))
    image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
    image.data = np.full((HEIGHT, WIDTH, 3), 7, np.uint8).tobytes()
    image.header.frame_id = CAMERA_FRAME

    memory: list[dict[str, float]] = []
    start = time.monotonic()
    sent = 0
    while (elapsed := time.monotonic() - start) < SECONDS:
        image.header.stamp = stamp_from(time.time_ns())
        robot.image.publish(image)
        sent += 1
        if elapsed > 3 + len(memory):  # seconds of warming up, then each second
            memory.append(resident_mb(node.pid))
        time.sleep(max(0.0, start + sent / RATE - time.monotonic()))
    wait_for(lambda: time.monotonic() > start + SECONDS + 2, "the last poses")

    values = robot.status[2]
    received, dropped, localized = (
        int(values[f"images_{name}"]) for name in ("received", "dropped", "localized")
    )
    inside = [
        float(row.value)
        for status in robot.diagnostics
        for row in status.values
        if row.key == "latency_total_ms"
    ]
    found: dict[str, object] = {"seconds": SECONDS, "sent": sent, "received": received, "dropped": dropped}
    found |= {"localized": localized, "image to pose, ms": spread(ages), "in the node, ms": spread(inside)}
    found["resident, MB, each minute"] = memory[::60] + memory[-1:]
    print(f"\n{json.dumps(found)}")
    assert memory[-1]["own"] - memory[0]["own"] < 5
    assert received > 0.5 * sent
    assert received == dropped + localized
    assert len(ages) == localized
    # One inference and the wait for the next image; the rest is for a busy machine.
    assert np.median(inside) < 1000 * (DELAY + 0.1) and max(ages) < 1000 * (2 * DELAY + 1)
