"""Every path of the GPU on a pretended one: no tensor stays on the CPU, and results equal the CPU's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known_matches import network_of
from pretended_gpu import CUDA, on_gpu, pretended_gpu
from torch import Tensor

from diff2i2p_core.benchmarks import ops, training
from diff2i2p_core.benchmarks.measure import cases_of
from diff2i2p_core.cli import doctor
from diff2i2p_core.cli.options import check_device
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization import retrieval
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.rendered_views import RenderedViews
from diff2i2p_core.localization.settings import LocalizerSettings, Precision
from diff2i2p_core.mapping.map_file import save_map
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models import xfeat
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.ops import backend, grid
from diff2i2p_core.ops.pyramid import build_pyramid
from diff2i2p_core.ops.render_view import render_view
from diff2i2p_core.pairs.pair import Batch
from diff2i2p_core.weights.checkpoint import load_model, save_model

CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)
IMAGE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
VIEWS = np.array([looking(np.array([2, 1.0, 1.2]), yaw, 0.1) for yaw in (-1.5, 0.0, 1.5, 3.0)])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pretended_gpu(monkeypatch):
        yield


def all_on_gpu(parts: Any) -> bool:
    return all(on_gpu(v) for f in fields(parts) if isinstance(v := getattr(parts, f.name), Tensor))


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "numpy": lambda x: x.numpy(),
    "asarray": np.asarray,
    "sum": lambda x: x + torch.ones(3, 4),
    "cat": lambda x: torch.cat([x, torch.ones(1, 4)]),
    "stack": lambda x: torch.stack([x[0, 0], torch.tensor(1.0)]),
    "index on the GPU": lambda x: torch.arange(3)[x[:, 0].long()],
    "index of select": lambda x: x.index_select(0, torch.arange(2)),
    "filled by index": lambda x: x.__setitem__(torch.arange(3), torch.ones(3, 4)),
    "generator": lambda x: torch.rand(3, device=x.device, generator=torch.Generator()),
    "function": lambda x: torch.nn.functional.linear(x, torch.ones(2, 4)),
    "in place": lambda x: torch.ones(3, 4).add_(x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cuda_refuses_is_refused(gpu: None, name: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=re.compile("device|cpu")):
        REFUSED[name](torch.ones(3, 4, device="cuda"))


def test_what_cuda_takes_is_taken(gpu: None) -> None:
    x = torch.ones(3, 4, device="cuda")
    x[:2] = torch.zeros(2, 4)
    taken = [
        x + torch.tensor(1.0),
        x[torch.arange(2)],
        torch.ones(2).to(x),
        x.mT,
        x.new_zeros(2),
        *x.max(0),
        *x,
    ]
    assert all(t.device == CUDA and t.is_cuda for t in taken)
    assert x.cpu().numpy().sum() == 4
    y = torch.ones(2)
    assert torch.as_tensor(y, device="cuda").is_cuda and y.is_cpu
    assert torch.ones(2, 2)[:, torch.tensor(1, device="cuda")].device.type == "cpu"


def test_network(gpu: None, tiny_weights: Path, room_batch: Batch) -> None:
    def features(device: str) -> list[Any]:
        model, batch = load_model(tiny_weights, device), room_batch.to(device)
        with torch.no_grad():
            images, submaps = (
                model.encode_image(batch.images),
                model.encode_cloud(batch.pyramid, batch.features),
            )
            return [
                *images,
                *submaps,
                *model.fuse_many(images[0], submaps),
                *model.match_many(images[0], submaps),
            ]

    there, here = features("cuda"), features("cpu")
    assert all(map(all_on_gpu, there))
    assert not any(map(on_gpu, (t for part in here for t in vars(part).values() if isinstance(t, Tensor))))
    for a, b in zip(there[:6], here[:6], strict=True):
        for name, tensor in vars(b).items():
            if isinstance(tensor, Tensor):
                torch.testing.assert_close(getattr(a, name).cpu(), tensor, rtol=1e-4, atol=1e-5)


def test_pyramid(gpu: None, room_cloud: PointCloud) -> None:
    points = torch.from_numpy(room_cloud.points[::24].copy())
    lengths = [1000, len(points) - 1000]
    here, there = (build_pyramid(p, 0.2, (8, 8, 8), lengths) for p in (points, points.to("cuda")))
    for name in ("points", "neighbors", "subsampling", "upsampling"):
        for a, b in zip(getattr(here, name), getattr(there, name), strict=True):
            assert on_gpu(b)
            # If two points are equally near, rounding decides which comes first.
            assert (b.cpu() == a).double().mean() > 0.98


@torch.inference_mode()
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_localizer(
    gpu: None,
    tiny_weights: Path,
    room_cloud: PointCloud,
    precision: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    localizer = Localizer.from_cloud(
        room_cloud,
        matcher="network",
        weights=tiny_weights,
        views=VIEWS,
        device="cuda",
        settings=LocalizerSettings(precision=precision),
    )
    network = network_of(localizer)
    assert network.model.device == CUDA
    query = Query.of(IMAGE, CAMERA, localizer.settings, device="cuda")
    features = network.encode(query)
    assert all_on_gpu(features) and on_gpu(network._index.scores(features))
    monkeypatch.setattr(retrieval, "_MANY", 2)  # submaps, of the 4
    monkeypatch.setattr(retrieval, "_SOME_NODES", 8)
    assert network.candidates(features)
    assert all(len(found.pixels) for found in network._match(query, features, [0, 1], near=False))
    localizer.localize(IMAGE, CAMERA)
    localizer.localize(IMAGE, CAMERA, prior=VIEWS[0])


def test_rendered_views(
    monkeypatch: pytest.MonkeyPatch, xfeat_network: XFeat, room_cloud: PointCloud, tmp_path: Path
) -> None:
    """Map, retrieval, matching and renders give the same pose on both devices, in the same precision."""
    monkeypatch.setattr(xfeat, "computes_bfloat16", lambda: False)
    rng = np.random.default_rng(0)
    speckled = replace(room_cloud, colors=rng.integers(0, 255, (len(room_cloud), 3)).astype(np.uint8))
    built = Localizer.from_cloud(speckled, matcher="views", views=VIEWS)
    save_map(built.map, tmp_path / "room.map")
    pose = looking(np.array([2.1, 1.1, 1.2]), 0.05, 0.1)
    image = render_view(speckled, invert(pose), CAMERA, 0.02).image
    here = Localizer.open(tmp_path / "room.map", matcher="views").localize(image, CAMERA)
    assert here.map_from_camera is not None and here.num_inliers > 100
    with pretended_gpu(monkeypatch):
        localizer = Localizer.open(tmp_path / "room.map", matcher="views", device="cuda")
        (proposer,) = localizer.proposers
        assert isinstance(proposer, RenderedViews) and proposer.device == CUDA
        features = proposer.matching.features(Query.of(image, CAMERA, localizer.settings, device="cuda"))
        assert all_on_gpu(features)
        there = localizer.localize(image, CAMERA)
        with_prior = localizer.localize(image, CAMERA, prior=pose)
        again = Localizer.from_cloud(speckled, matcher="views", views=VIEWS, device="cuda").map.rendered
    assert there.map_from_camera is not None and with_prior.localized
    np.testing.assert_allclose(there.map_from_camera, here.map_from_camera, atol=1e-6)
    assert there.num_inliers == here.num_inliers
    assert again is not None and built.map.rendered is not None
    ours, theirs = (views.descriptors.float() for views in (again.views, built.map.rendered.views))
    assert len(ours) == len(theirs) > 1000
    most_alike = (ours @ theirs.T).amax(dim=1)  # a few pixels of renders are rounded to others
    assert (most_alike > 0.995).float().mean() > 0.98


def test_keypoints_are_the_same_maxima(monkeypatch: pytest.MonkeyPatch) -> None:
    heatmap = torch.rand(48, 64, generator=torch.Generator().manual_seed(0))
    heatmap[5:8, 5:8] = 2  # equal neighbours are all maxima
    here = xfeat._peaks(heatmap)
    with pretended_gpu(monkeypatch):
        there = xfeat._peaks(heatmap.to("cuda")).cpu()
    assert torch.equal(here, there) and here[5:8, 5:8].all() and 20 < here.sum() < 400


def test_depth_and_tuning_from_a_map_file(
    gpu: None, tiny_weights: Path, room_cloud: PointCloud, tmp_path: Path
) -> None:
    settings = {"mode": "rgbd", "tuning": True, "point_features": "geometry"}
    weights = tmp_path / "rgbd.safetensors"
    save_model(Diff2I2P(load_model(tiny_weights).config.model_copy(update=settings)), weights)
    built = Localizer.for_single_cloud(PointCloud(room_cloud.points), weights, device="cuda")
    save_map(built.map, tmp_path / "room.map")
    localizer = Localizer.open(tmp_path / "room.map", weights, device="cuda")
    depth = np.full(IMAGE.shape[:2], 2, np.float32)
    network = network_of(localizer)
    with torch.inference_mode():
        features = network.encode(Query.of(IMAGE, CAMERA, localizer.settings, depth=depth))
        (found,) = network.model.match_many(features, [network.submaps[0]])
    assert all_on_gpu(features) and all_on_gpu(found) and found.offsets is not None
    localizer.localize(IMAGE, CAMERA, depth=depth)


@pytest.mark.parametrize("part", ["ops", "training"])
def test_benchmarks_but_the_kernels(gpu: None, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(ops, "POINTS", 300)
    monkeypatch.setattr(training, "POINTS", 300)
    monkeypatch.setattr(training, "SIZE", (48, 64))
    ops._levels.cache_clear()
    for case in cases_of(part):
        if case.kernel_of is None:
            case.prepare("cuda")()
    ops._levels.cache_clear()


@pytest.mark.parametrize(("capability", "runs"), [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_kernels_run_where_triton_does(
    gpu: None, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], runs: bool
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("DIFF2I2P_OPS", "auto")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    backend._runs_triton.cache_clear()
    assert backend.use_triton(torch.zeros(1, device="cuda")) is runs
    assert not backend.use_triton(torch.zeros(1))
    monkeypatch.setattr(torch.version, "cuda", None)  # AMD's
    backend._runs_triton.cache_clear()
    assert not backend.use_triton(torch.zeros(1, device="cuda"))
    backend._runs_triton.cache_clear()


def test_only_a_gpu_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [check_device(name) for name in ("cuda", "cuda:1", "cpu")] == ["cuda", "cuda:1", "cpu"]
    with pytest.raises(InputError, match="give cpu or one of cuda:0 to cuda:1"):
        check_device("cuda:2")


def test_doctor_runs_a_kernel(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (check,) = doctor._kernels()
    assert check.status == "ok"

    def fail(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(grid, "grid_subsample", fail)
    (check,) = doctor._kernels()
    assert check.status == "note" and "C compiler" in check.found and "gcc" in check.fix


def test_products_follow_torchs_switch() -> None:
    """The new one, too: where it was set, torch refuses to read the old one."""
    kernels = pytest.importorskip("diff2i2p_core.ops.kernels.kpconv")
    switches = torch.backends.cuda.matmul
    name = "fp32_precision" if hasattr(switches, "fp32_precision") else "allow_tf32"
    before = getattr(switches, name)
    assert not kernels._allows_tf32()
    try:
        setattr(switches, name, "tf32" if name == "fp32_precision" else True)
        assert kernels._allows_tf32()
    finally:
        setattr(switches, name, before)
