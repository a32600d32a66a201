"""Fixtures that every test may use, and an environment that keeps ROS on this host."""

from __future__ import annotations

import faulthandler
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from diff2i2p_core.demo.ros_domain import claim_domain

if TYPE_CHECKING:
    from diff2i2p_core.geometry.point_cloud import PointCloud
    from diff2i2p_core.models.xfeat import XFeat
    from diff2i2p_core.pairs.pair import Batch, Pair

REPO = Path(__file__).resolve().parents[1]
STATUS = pytest.StashKey[int]()
END_SECONDS = 60.0
"""For threads that tests have left running, and again for the interpreter's exit."""

# Set before rclpy or torch is imported, and inherited by the processes that tests start.
# One thread a process: several processes run at once here, and threads that wait for each other spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without a GPU Triton's interpreter runs the kernels; Triton reads this once, when something imports it.
if not any(Path("/dev").glob("nvidia[0-9]*")):
    os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # triton 3.9 warns where it is not set
# Each process of a distributed run (pytest-xdist) needs its own, and inherits the first one's.
if os.environ.get("ROS_DOMAIN_ID") == os.environ.get("DIFF2I2P_TESTS_DOMAIN"):
    os.environ["ROS_DOMAIN_ID"] = os.environ["DIFF2I2P_TESTS_DOMAIN"] = claim_domain()
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_ROS_HOME = tempfile.mkdtemp(prefix="diff2i2p-tests-ros-")
os.environ["ROS_HOME"] = _ROS_HOME
os.environ["ROS_LOG_DIR"] = str(Path(_ROS_HOME) / "log")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were skipped, by reason; docs/testing.md says how to run them."""
    skipped = terminalreporter.getreports("skipped")
    details = [report.longrepr[2] if isinstance(report.longrepr, tuple) else "" for report in skipped]
    reasons = Counter(detail.removeprefix("Skipped: ") for detail in details)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5} skipped: {reason}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """After the summary: end the run, whatever the tests have left running."""
    shutil.rmtree(_ROS_HOME, ignore_errors=True)
    for attribute in (
        "last_value",
        "last_traceback",
    ):  # tracebacks of failed tests would keep their nodes alive
        if hasattr(sys, attribute):
            delattr(sys, attribute)
    for pid, command in _children():
        print(f"a test left the process {pid} running, killed now: {command}", file=sys.stderr)
        os.kill(pid, signal.SIGKILL)
    threads = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    until = time.monotonic() + END_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if names := [thread.name for thread in threads if thread.is_alive()]:
        print(f"ended although these threads still ran: {', '.join(names)}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback()
        sys.stdout.flush()
        os._exit(config.stash.get(STATUS, 1))
    if hasattr(config, "workerinput"):
        return  # pytest-xdist ends this process when the others are done, too
    # The exit of the interpreter or of DDS may still hang: then the alarm shows where, and ends it.
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.setitimer(signal.ITIMER_REAL, END_SECONDS)


def _children() -> list[tuple[int, str]]:
    """Process ids and commands of this process's children, but for Python's own helper that ends with us."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (path / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it has just ended
        if int(parent) == os.getpid() and state != "Z" and "resource_tracker" not in command:
            found.append((int(path.name), command))
    return found


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ros") and importlib.util.find_spec("rclpy") is None:
        pytest.skip("needs ROS 2 (rclpy): run `make setup`, or source a ROS 2 installation")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernel_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ops run their kernels, on tensors of this device: "cpu" through the interpreter, or "cuda"."""
    pytest.importorskip("triton")
    on_gpu = request.param == "cuda"
    if on_gpu == (os.environ.get("TRITON_INTERPRET") == "1"):
        pytest.skip("without a GPU the interpreter runs the kernels, with one they run for real")
    monkeypatch.setenv("DIFF2I2P_OPS", "triton")
    return "cuda" if on_gpu else "cpu"


def _shared_folder(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable) or REPO.parent / "shared" / default).resolve()
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: name one with {variable}")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real recordings: $DIFF2I2P_DATA, else ../shared/data; the test is skipped without them."""
    return _shared_folder("DIFF2I2P_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Inputs and outputs of the released network: $DIFF2I2P_GOLDEN, else ../shared/golden."""
    return _shared_folder("DIFF2I2P_GOLDEN", "golden")


@pytest.fixture(scope="session")
def golden_pair(golden_dir: Path) -> Callable[[str], Pair]:
    """Makes the golden pair "train_A" or "eval_A" of its stored inputs, with the stored pyramid."""
    return partial(_golden_pair, golden_dir)


def _golden_pair(folder: Path, name: str) -> Pair:
    import torch

    from diff2i2p_core.geometry.camera import Camera
    from diff2i2p_core.geometry.depth import back_project
    from diff2i2p_core.models.released import released_config
    from diff2i2p_core.ops.pyramid import PointPyramid
    from diff2i2p_core.pairs.pair import Pair
    from diff2i2p_core.pairs.targets import build_targets

    part, _, letter = name.partition("_")
    with np.load(folder / f"{part}_inputs_{letter}.npz") as file:
        inputs = dict(file)

    def tables(name: str, count: int) -> list[torch.Tensor]:
        return [torch.from_numpy(inputs[f"{name}_{i}"].astype(np.int64)) for i in range(count)]

    pyramid = PointPyramid(
        points=[torch.from_numpy(inputs[f"points_{i}"]) for i in range(4)],
        neighbors=tables("neighbors", 4),
        subsampling=tables("subsampling", 3),
        upsampling=tables("upsampling", 3),
        lengths=[inputs[f"lengths_{i}"].tolist() for i in range(4)],
    )
    height, width = inputs["image"].shape[1:]
    camera = Camera.from_matrix(inputs["intrinsics"], width, height)
    depth = inputs["depth"][0] / np.float32(1000)
    depth[depth > 6] = 0
    camera_from_cloud = inputs["transform"].astype(np.float64)
    return Pair(
        image=torch.from_numpy(inputs["image"])[None],
        image_points=torch.from_numpy(back_project(depth, camera)).permute(2, 0, 1)[None],
        pyramid=pyramid,
        features=pyramid.points[0],
        camera=camera,
        camera_from_cloud=camera_from_cloud,
        targets=build_targets(depth, camera, pyramid, camera_from_cloud, released_config()),
        index=0,
        name=f"{inputs['scene_name']}/{inputs['image_id']}_{inputs['cloud_id']}",
        rgb=torch.zeros(3, height, width, dtype=torch.uint8),
    )


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not on this machine are not fetched during a test."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture(scope="session")
def xfeat_network() -> XFeat:
    """XFeat with its published weights; tests are skipped where `make setup` could not get them."""
    from diff2i2p_core.weights.xfeat import load_xfeat, xfeat_path

    if not xfeat_path().is_file():
        pytest.skip("needs XFeat's weights: run `diff2i2p weights fetch xfeat`")
    return load_xfeat()


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of a small network of the `lite-rgb` kind."""
    import torch

    from diff2i2p_core.models.config import FusionConfig, ImageConfig, PointConfig, lite_config
    from diff2i2p_core.models.diff2i2p import Diff2I2P
    from diff2i2p_core.weights.checkpoint import save_model

    config = lite_config("rgb").model_copy(
        update={
            "name": "tiny",
            "fine_dim": 16,
            "image": ImageConfig(
                color="rgb", height=120, channels=(16, 16, 16), blocks=(1, 1, 1), fine_stride=4, node_stride=8
            ),
            "points": PointConfig(voxel=0.05, levels=3, width=8, blocks=1, neighbor_limits=(8, 8, 8)),
            "fusion": FusionConfig(dim=32, heads=2, layers=2, octaves=4),
        }
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(Diff2I2P(config), path)
    return path


@pytest.fixture(scope="session")
def room_batch(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """Two pairs of a drawn room for the network of `tiny_weights`."""
    from diff2i2p_core.geometry.camera import Camera
    from diff2i2p_core.pairs.pair import collate
    from diff2i2p_core.pairs.scene_pairs import PairSettings, ScenePairs
    from diff2i2p_core.pairs.scenes import load_scene
    from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
    from diff2i2p_core.weights.checkpoint import load_model

    folder = tmp_path_factory.mktemp("room")
    room = make_room(3)
    write_frames(folder, room, Camera(160, 120, 131, 131, 79.5, 59.5), camera_path(room, 4, 3), noise=False)
    scene = load_scene(folder, 120, (0, 3), None)
    settings = PairSettings(other_frame=0, jitter_deg=1, jitter_m=0.02)
    pairs = ScenePairs([scene], [1.0], load_model(tiny_weights).config, settings, augment=False)
    return collate([pairs[0], pairs[1]])


@pytest.fixture(scope="session")
def room_cloud() -> PointCloud:
    """A coloured room of 4 x 5 x 2.5 m, z up, with a box in it."""
    from diff2i2p_core.geometry.point_cloud import PointCloud

    rng = np.random.default_rng(0)
    sides = []
    for low, high in (((0, 0, 0), (4, 5, 2.5)), ((1.5, 3.5, 0), (2.5, 4.5, 0.8))):
        size = np.subtract(high, low)
        for axis in range(3):
            others = [k for k in range(3) if k != axis]
            count = int(800 * size[others[0]] * size[others[1]])
            for end in (0.0, 1.0):
                unit = rng.uniform(0, 1, (count, 3))
                unit[:, axis] = end
                sides.append(np.array(low) + unit * size)
    points = np.concatenate(sides).astype(np.float32)
    colors = (127 + 120 * np.sin(3 * points)).astype(np.uint8)
    return PointCloud(points, colors)
