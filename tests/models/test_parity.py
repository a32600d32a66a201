"""The released configuration equals the released code, stage by stage (golden numbers)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from network_stages import Stages, run_stages

from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.pairs.pair import Pair
from diff2i2p_core.weights.checkpoint import load_model
from diff2i2p_core.weights.released import translate_name

TOLERANCE = 1e-4


Compared = list[tuple[Stages, dict[str, np.ndarray]]]
"""Pairs' stages, and what the released code gave."""


@pytest.fixture(scope="module")
def released(golden_dir: Path) -> Diff2I2P:
    return load_model(golden_dir / "state_dict_fp16.pth")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def stages(
    request: pytest.FixtureRequest,
    released: Diff2I2P,
    golden_dir: Path,
    golden_pair: Callable[[str], Pair],
) -> Compared:
    """On a GPU with the kernels."""
    letters = [file.stem[-1] for file in sorted(golden_dir.glob("eval_inputs_*.npz"))]
    assert letters, f"{golden_dir} holds no eval_inputs_*.npz"
    return [
        (
            run_stages(released, golden_pair(f"eval_{x}"), request.param),
            dict(np.load(golden_dir / f"eval_outputs_{x}.npz")),
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


def test_backbones(stages: Compared) -> None:
    for s, expected in stages:
        rows, columns = s.image.fine_size
        grid = s.image.fine.view(rows, columns, -1)[::8, ::8].flatten(0, 1)
        assert_close(grid, expected["img_feats_f_grid8"])
        assert_close(s.submap.fine[::4], expected["pcd_feats_f_stride4"])


def test_nodes_before_fusion(stages: Compared) -> None:
    for s, expected in stages:
        assert_close(s.image.nodes, expected["img_feats_latent_s4"])
        assert_close(s.submap.nodes, expected["pcd_feats_latent_s4"])


def test_nodes_after_fusion(stages: Compared) -> None:
    for s, expected in stages:
        assert_close(s.nodes.image, expected["img_feats_c"])
        assert_close(s.nodes.points, expected["pcd_feats_c"])


def test_coarse_pairs(stages: Compared) -> None:
    for s, expected in stages:
        listed = zip(expected["img_node_corr_indices"], expected["pcd_node_corr_indices"], strict=True)
        found = zip(s.matches.image_nodes.tolist(), s.matches.point_nodes.tolist(), strict=True)
        assert set(found) == {(int(i), int(j)) for i, j in listed}


def test_fine_correspondences_and_scores(stages: Compared) -> None:
    for s, expected in stages:
        assert torch.equal(s.matches.pixels.flip(1), torch.from_numpy(expected["img_corr_pixels"]))
        assert_close(s.matches.scores, expected["corr_scores"])


def test_tuned_points_and_offsets(stages: Compared) -> None:
    for s, expected in stages:
        assert s.matches.offsets is not None
        assert_close(s.matches.points, expected["pcd_corr_points"])
        moved = s.matches.points - s.submap.points[s.matches.point_indices]
        assert_close(moved, expected["coord_offsets"])


def test_tuning_leaves_the_cloud_alone(stages: Compared) -> None:
    # The released code writes deformed points back into its input (docs/method.md R16).
    for s, expected in stages:
        assert torch.equal(s.submap.points, torch.from_numpy(expected["pcd_points_before_mutation"]))
