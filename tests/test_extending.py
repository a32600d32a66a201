"""The examples of docs/extending.md, run as they stand."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from benchmark_folder import write_benchmark
from plain_map import PlainMap
from raw_layouts import CAMERA, recording

from diff2i2p_core.datasets.check import check_set
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, invert, transform_points, translation_error
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.losses.kinds import FINE_LOSSES
from diff2i2p_core.models.config import FusionConfig, lite_config
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.image_kinds import IMAGE_KINDS
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.weights.checkpoint import read_config, save_model

PAGE = Path(__file__).resolve().parents[1] / "docs/extending.md"
SMALL = """
steps: 2
workers: 0
cache: null
log_every: 1
scenes: [{folder: room}]
model:
  replace:
    fine_dim: 16
    image: {height: 120, channels: [8, 16, 16], blocks: [1, 1, 1], node_stride: 8}
    points: {voxel: 0.1, width: 8, blocks: 1, neighbor_limits: [12, 12, 12]}
    fusion: {dim: 32, heads: 2, layers: 2, octaves: 4}
"""

Example = Callable[[str], dict[str, Any]]


def sections() -> dict[str, str]:
    """The Python of each section by its heading."""
    found = {}
    for section in re.split(r"^#+ (?=[A-Z])", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        heading, _, text = section.partition("\n")
        if code := re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            found[heading] = "\n".join(code)
    return found


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Example:
    """Runs a section's example in an empty folder, after the page's first one; its names."""
    monkeypatch.chdir(tmp_path)

    def run(heading: str) -> dict[str, Any]:
        module = ModuleType("extending")
        monkeypatch.setitem(sys.modules, "extending", module)  # dataclasses look their module up
        for part in ("Extending", heading):
            exec(compile(sections()[part], f"{PAGE.name}: {part}", "exec"), vars(module))
        return vars(module)

    return run


def test_every_example_is_run() -> None:
    run = re.findall(r'example\("(.*)"\)', Path(__file__).read_text(encoding="utf-8"))
    assert set(sections()) == {"Extending", *run}


@pytest.mark.parametrize("name", ["patchwork", "triplet"])
def test_training_with_an_own_part(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    room, camera = make_room(3), Camera(160, 120, 131, 131, 79.5, 59.5)
    write_frames(tmp_path / "room", room, camera, camera_path(room, 4, 3), noise=False)
    (tmp_path / "small.yaml").write_text(SMALL)
    with monkeypatch.context() as patch:
        for table in (IMAGE_KINDS, FINE_LOSSES):
            patch.setitem(table, name, None)  # so that it is removed again
        if name == "patchwork":
            example("An image backbone")
        else:
            example("A matching loss")
    run = tmp_path / "runs" / name
    losses = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in losses] == [1, 2]
    assert all(np.isfinite(entry["fine"]) for entry in losses)
    config, _ = read_config(run / "last.safetensors")
    assert config.image.kind == ("patchwork" if name == "patchwork" else "resnet_fpn")
    if name == "triplet":
        assert 0 <= losses[0]["fine"] <= 2.2  # a hinge of cosines; the circle loss starts above


def test_pairs_of_an_own_source(example: Example, tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    frames = recording(60)
    np.savez(
        tmp_path / "arrays" / "hall.npz",
        images=np.stack([frame.image for frame in frames]),
        depths=np.stack([frame.depth for frame in frames]),
        poses=np.stack([frame.world_from_camera for frame in frames]),
        matrix=CAMERA.matrix,
    )
    names = example("A source of data")
    assert names["prepared"].subsets["train"]["pairs"] > 0
    assert set(names["prepared"].scenes) == {"hall"}
    assert check_set(tmp_path / "arrays-set", sample=3).problems == []


def test_an_own_benchmark(example: Example, tmp_path: Path) -> None:
    root = write_benchmark(tmp_path / "other", [0.9], points=3000)
    (tmp_path / "own-benchmark").mkdir()
    (root / "data").rename(tmp_path / "own-benchmark/data")
    (tmp_path / "own-benchmark/data/wall").rename(tmp_path / "own-benchmark/data/hall")
    config = lite_config("geometry")
    small = config.model_copy(
        update={
            "fine_dim": 16,
            "image": config.image.model_copy(update={"height": 48}),
            "fusion": FusionConfig(dim=32, heads=2, layers=2, octaves=4),
        }
    )
    save_model(Diff2I2P(small), tmp_path / "geometry.safetensors")
    (metrics,) = example("A benchmark")["metrics"]
    assert (metrics.scene, metrics.name.partition("/")[0]) == ("hall", "hall")
    assert 0 <= metrics.inlier_ratio <= 1


def test_an_own_matcher(example: Example) -> None:
    """Markers on a wall at 2 m, in a drawn image."""
    names = example("A matcher")
    camera, pose = Camera(640, 480, 500, 500, 319.5, 239.5), compose(np.eye(3), [0.1, -0.05, 0.2])
    image, corners = np.full((480, 640, 3), 255, np.uint8), {}
    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    for number, (x, y) in enumerate((x, y) for y in (-0.4, 0.1) for x in (-0.7, -0.2, 0.3)):
        square = np.array([[x, y, 2], [x + 0.3, y, 2], [x + 0.3, y + 0.3, 2], [x, y + 0.3, 2]])
        corners[number] = square
        pixels, _ = camera.project(transform_points(invert(pose), square))
        marker = cv2.aruco.generateImageMarker(family, number, 60)
        edge = np.array([[-0.5, -0.5], [59.5, -0.5], [59.5, 59.5], [-0.5, 59.5]], np.float32)
        warp = cv2.getPerspectiveTransform(edge, pixels.astype(np.float32))
        drawn = cv2.warpPerspective(marker, warp, (640, 480), borderValue=255)
        image = np.minimum(image, drawn[..., None])
    query = Query.of(image, camera, LocalizerSettings())
    wall = PointCloud(
        np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 2.01], (500, 3)).astype(np.float32)
    )
    localizer = names["localizer"](PlainMap(wall, np.eye(4)[None]), corners)
    (((hypothesis,),),) = [tuple(group for group in localizer.proposers[0].propose(query))]
    assert hypothesis.source == "6 markers" and hypothesis.support == 24
    assert translation_error(hypothesis.map_from_camera, pose) < 0.02
    empty = Query.of(np.full((480, 640, 3), 255, np.uint8), camera, LocalizerSettings())
    assert list(localizer.proposers[0].propose(empty)) == []
