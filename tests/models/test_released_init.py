"""`model.init: released` draws the initial weights as the released code does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.models.config import lite_config
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.point_backbone import KPConvBlock
from diff2i2p_core.models.released import released_config
from diff2i2p_core.models.released_init import initialize_as_released
from diff2i2p_core.weights.checkpoint import read_released

SEEDS = 20
COMMON = {"image_backbone.project.bias", "point_backbone.project.bias"}
"""The golden weights have a common vector added to these."""
ROUNDING = 1e-3
"""The golden weights are stored in half precision."""


def initial_model(seed: int) -> Diff2I2P:
    torch.manual_seed(seed)
    model = Diff2I2P(released_config())
    initialize_as_released(model)
    return model


def parameter_statistics(tensor: Tensor) -> list[float]:
    """Mean, standard deviation, smallest and largest value."""
    return [tensor.mean().item(), tensor.std(correction=0).item(), tensor.min().item(), tensor.max().item()]


def kernel_statistics(points: Tensor) -> np.ndarray:
    """What a turn about z and a new order leave: heights, and distances between points; in the unit ball."""
    level = round(np.log2(points.norm(dim=1)[points.norm(dim=1) > 0.02].mean().item() / 0.041))
    unit = points / (0.0625 * 2**level)
    return np.concatenate([unit[:, 2].sort().values.numpy(), torch.pdist(unit).sort().values.numpy()])


Drawn = tuple[dict[str, np.ndarray], np.ndarray]
"""Statistics (SEEDS, 4) of every parameter, and those of all kernel points (N, ...)."""


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    parameters: dict[str, list[list[float]]] = {}
    kernels = []
    for seed in range(SEEDS):
        model = initial_model(seed)
        for name, parameter in model.named_parameters():
            parameters.setdefault(name, []).append(parameter_statistics(parameter.detach()))
        kernels += [kernel_statistics(points) for points in model.buffers()]
    return {name: np.array(values) for name, values in parameters.items()}, np.array(kernels)


def test_initial_statistics_are_those_of_the_golden_initial_weights(golden_dir: Path, drawn: Drawn) -> None:
    """Of every tensor, to the spread over the seeds."""
    golden = read_released(golden_dir / "state_dict_fp16.pth")
    far = {}
    for name, values in drawn[0].items():
        expected = np.array(parameter_statistics(golden[name].float()))
        allowed = 5 * values.std(axis=0, ddof=1) + ROUNDING * expected[1]
        if name not in COMMON and (np.abs(expected - values.mean(axis=0)) > allowed).any():
            far[name] = (expected, values.mean(axis=0))
    assert len(drawn[0]) == 382
    assert far == {}


def test_kernel_points_are_the_golden_ones_but_for_noise_and_turn(golden_dir: Path, drawn: Drawn) -> None:
    golden = read_released(golden_dir / "state_dict_fp16.pth")
    expected = np.array([kernel_statistics(t) for name, t in golden.items() if "kernel_points" in name])
    assert len(expected) == 11
    difference = np.abs(expected.mean(axis=0) - drawn[1].mean(axis=0))
    assert difference.max() < 5 * 0.01 * np.sqrt(2 / 11)  # the noise of a distance, over 11 layers
    np.testing.assert_allclose(expected.std(axis=0).mean(), drawn[1].std(axis=0).mean(), rtol=0.15)


def test_layers_have_their_own_turn() -> None:
    blocks = [module for module in initial_model(0).modules() if isinstance(module, KPConvBlock)]
    unit = torch.stack([block.kernel_points / block.radius for block in blocks])
    angles = torch.atan2(unit[:, 3, 1], unit[:, 3, 0])
    assert len(angles.unique()) == len(blocks) == 11
    assert angles.std() > 0.5


def test_the_seed_decides() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = Diff2I2P(lite_config())
        initialize_as_released(model)
        states.append(model.point_backbone.state_dict())
    same = [all(torch.equal(states[0][name], other[name]) for name in states[0]) for other in states[1:]]
    assert same == [True, False]
