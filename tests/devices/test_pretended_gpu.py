"""Every path of the GPU on a pretended one: nothing is left behind on the CPU, and results are the CPU's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended_gpu import CUDA, on_gpu, pretended_gpu
from torch import Tensor

from diff2i2p_core.data.pair import Batch
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.localization import retrieval
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.checkpoint import load_model
from diff2i2p_core.ops.pyramid import build_pyramid

CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)
IMAGE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
VIEWS = np.array([looking(np.array([2, 1.0, 1.2]), yaw, 0.1) for yaw in (-1.5, 0.0, 1.5, 3.0)])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pretended_gpu(monkeypatch):
        yield


def all_on_gpu(parts: Any) -> bool:
    return all(on_gpu(v) for f in fields(parts) if isinstance(v := getattr(parts, f.name), Tensor))


REFUSED = {
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
    assert torch.ones(2, 2)[:, torch.tensor(1, device="cuda")].device.type == "cpu"


def test_network(gpu: None, tiny_weights: Path, room_batch: Batch) -> None:
    model, moved = load_model(tiny_weights, "cuda"), room_batch.to("cuda")
    with torch.no_grad():
        images, submaps = model.encode_image(moved.images), model.encode_cloud(moved.pyramid, moved.features)
        found = model.match_many(images[0], submaps)
    assert all(map(all_on_gpu, [*images, *submaps, *found]))


def test_pyramid(gpu: None, room_cloud: tuple[np.ndarray, np.ndarray]) -> None:
    points = torch.from_numpy(room_cloud[0][::24].copy())
    lengths = [1000, len(points) - 1000]
    here, there = (build_pyramid(p, 0.2, (8, 8, 8), lengths) for p in (points, points.to("cuda")))
    for name in ("points", "neighbors", "subsampling", "upsampling"):
        for a, b in zip(getattr(here, name), getattr(there, name), strict=True):
            assert on_gpu(b)
            # Where two points are equally near, rounding says which comes first.
            assert (b.cpu() == a).double().mean() > 0.98


@torch.inference_mode()
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_localizer(
    gpu: None,
    tiny_weights: Path,
    room_cloud: tuple[np.ndarray, np.ndarray],
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    localizer = Localizer.from_cloud(
        *room_cloud,
        weights=tiny_weights,
        views=VIEWS,
        device="cuda",
        settings=LocalizerSettings(precision=precision),
    )
    assert localizer.model.device == CUDA
    features = localizer._encode(IMAGE, CAMERA, None)[0]
    assert all_on_gpu(features) and on_gpu(localizer._index.scores(features))
    monkeypatch.setattr(retrieval, "_MANY", 2)  # submaps, of the 4
    monkeypatch.setattr(retrieval, "_SOME_NODES", 8)
    assert localizer._candidates(features)
    assert all(len(pixels) for pixels, _, _ in localizer._match(features, [0, 1], CAMERA))
    localizer.localize(IMAGE, CAMERA)
    localizer.localize(IMAGE, CAMERA, prior=VIEWS[0])
