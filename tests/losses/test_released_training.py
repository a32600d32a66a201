"""A training step of the released configuration equals the released code's: losses and gradients."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from network_stages import TrainingStep, training_step

from diff2i2p_core.engine.config_file import load_config
from diff2i2p_core.pairs.pair import Pair
from diff2i2p_core.weights.checkpoint import load_model
from diff2i2p_core.weights.released import translate_name

pytestmark = pytest.mark.slow

RELEASED = Path(__file__).parents[2] / "training/configs/7scenes-released.yaml"
NOISE = 1e-8
"""Norms below this part of the largest are rounding alone. Six are, another 100 times smaller: those of the
attention's key biases, whose true gradient is zero, since a constant added to every key leaves the softmax
alone. The smallest norm of any other parameter is 7,000 times above."""


@pytest.fixture(scope="module")
def step(golden_dir: Path, golden_pair: Callable[[str], Pair]) -> TrainingStep:
    with np.load(golden_dir / "train_inputs_A.npz") as file:
        listed = [torch.from_numpy(file[f"{part}_corr_indices"]).long() for part in ("img", "pcd")]
    with np.load(golden_dir / "train_outputs_A.npz") as file:
        stored = {name: torch.from_numpy(file[name]).long() for name in file.files if "indices" in name}
    drawn = stored["fine_sel_indices"]
    return training_step(
        load_model(golden_dir / "state_dict_fp16.pth").train(),
        golden_pair("train_A"),
        load_config(RELEASED, ["benchmark.root=unused"]).losses,
        matched=(stored["img_corr_indices"], stored["pcd_corr_indices"]),
        drawn=(listed[0][drawn], listed[1][drawn]),
    )


def test_losses(golden_dir: Path, step: TrainingStep) -> None:
    with np.load(golden_dir / "train_outputs_A.npz") as file:
        stored = {name: float(file[name]) for name in file.files if file[name].ndim == 0}
    expected = {
        "loss": stored["loss_loss"],
        "coarse": stored["c_loss_main_only"],
        "multi_scale": 2 * (stored["loss_c_loss"] - stored["c_loss_main_only"]),
        "fine": stored["loss_f_loss"],
        "offset": stored["loss_coord"],
        "residual": stored["loss_coord_residual"],
    }
    assert {name: step.losses[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_norm_of_every_gradient(golden_dir: Path, step: TrainingStep) -> None:
    listed = json.loads((golden_dir / "train_grad_norms_A.json").read_text())
    expected = {translate_name(name): norm for name, norm in listed.items()}
    norms = {name: gradient.double().norm().item() for name, gradient in step.gradients.items()}
    noise = NOISE * max(expected.values())
    assert [name.split(".")[-2:] for name, norm in expected.items() if norm < noise] == [["key", "bias"]] * 6
    assert norms == pytest.approx(expected, rel=1e-3, abs=noise)


def test_full_gradients(golden_dir: Path, step: TrainingStep) -> None:
    with np.load(golden_dir / "train_grads_selected_A.npz") as file:
        expected = {name: torch.from_numpy(file[name]) for name in file.files}
    assert len(expected) == 12
    for name, gradient in expected.items():
        error = (step.gradients[translate_name(name)] - gradient).norm() / gradient.norm()
        assert error < 1e-3, name
