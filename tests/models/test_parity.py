"""The released configuration equals the released code, stage by stage (golden numbers)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences, FusedNodes, ImageFeatures, SubmapFeatures
from diff2i2p_core.pairs.pair import Pair
from diff2i2p_core.weights.checkpoint import load_model
from diff2i2p_core.weights.released import translate_name

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Stages:
    image: ImageFeatures
    submap: SubmapFeatures
    nodes: FusedNodes
    found: Correspondences
    expected: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def released(golden_dir: Path) -> Diff2I2P:
    return load_model(golden_dir / "state_dict_fp16.pth")


def run_stages(model: Diff2I2P, pair: Pair, expected: dict[str, np.ndarray], device: str) -> Stages:
    model = model.to(device)
    image_points = None if pair.image_points is None else pair.image_points.to(device)
    # Convolutions on a GPU would round to TF32.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        image = model.encode_image(pair.image.to(device), image_points)[0]
        submap = model.encode_cloud(pair.pyramid.to(device), pair.features.to(device))[0]
        nodes = model.fuse(image, submap)
        found = model.match(image, submap, nodes)
    return Stages(image.to("cpu"), submap.to("cpu"), nodes.to("cpu"), found.to("cpu"), expected)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def stages(
    request: pytest.FixtureRequest,
    released: Diff2I2P,
    golden_dir: Path,
    golden_pair: Callable[[str], Pair],
) -> list[Stages]:
    """On a GPU with the kernels."""
    letters = [file.stem[-1] for file in sorted(golden_dir.glob("eval_inputs_*.npz"))]
    assert letters, f"{golden_dir} holds no eval_inputs_*.npz"
    return [
        run_stages(
            released,
            golden_pair(f"eval_{x}"),
            dict(np.load(golden_dir / f"eval_outputs_{x}.npz")),
            request.param,
        )
        for x in letters
    ]


def assert_close(actual: torch.Tensor, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    error = np.abs(actual.numpy() - expected).max() / np.abs(expected).max()
    assert error < TOLERANCE


def test_every_released_tensor_has_its_place(golden_dir: Path, released: Diff2I2P) -> None:
    listed = json.loads((golden_dir / "state_dict_keys.json").read_text())
    own = {name: list(tensor.shape) for name, tensor in released.state_dict().items()}
    assert {translate_name(name): shape for name, shape in listed.items()} == own
    assert sum(p.numel() for p in released.parameters()) == 31_109_507


def test_backbones(stages: list[Stages]) -> None:
    for s in stages:
        rows, columns = s.image.fine_size
        grid = s.image.fine.view(rows, columns, -1)[::8, ::8].flatten(0, 1)
        assert_close(grid, s.expected["img_feats_f_grid8"])
        assert_close(s.submap.fine[::4], s.expected["pcd_feats_f_stride4"])


def test_nodes_before_fusion(stages: list[Stages]) -> None:
    for s in stages:
        assert_close(s.image.nodes, s.expected["img_feats_latent_s4"])
        assert_close(s.submap.nodes, s.expected["pcd_feats_latent_s4"])


def test_nodes_after_fusion(stages: list[Stages]) -> None:
    for s in stages:
        assert_close(s.nodes.image, s.expected["img_feats_c"])
        assert_close(s.nodes.points, s.expected["pcd_feats_c"])


def test_coarse_pairs(stages: list[Stages]) -> None:
    for s in stages:
        expected = zip(s.expected["img_node_corr_indices"], s.expected["pcd_node_corr_indices"], strict=True)
        found = zip(s.found.image_nodes.tolist(), s.found.point_nodes.tolist(), strict=True)
        assert set(found) == {(int(i), int(j)) for i, j in expected}


def test_fine_correspondences_and_scores(stages: list[Stages]) -> None:
    for s in stages:
        assert torch.equal(s.found.pixels.flip(1), torch.from_numpy(s.expected["img_corr_pixels"]))
        assert_close(s.found.scores, s.expected["corr_scores"])


def test_tuned_points_and_offsets(stages: list[Stages]) -> None:
    for s in stages:
        assert s.found.offsets is not None
        assert_close(s.found.points, s.expected["pcd_corr_points"])
        moved = s.found.points - s.submap.points[s.found.point_indices]
        assert_close(moved, s.expected["coord_offsets"])


def test_tuning_leaves_the_cloud_alone(stages: list[Stages]) -> None:
    # The released code writes deformed points back into its input (METHOD D3).
    for s in stages:
        assert torch.equal(s.submap.points, torch.from_numpy(s.expected["pcd_points_before_mutation"]))
