"""Every stage of the released network, and a training step of it, give the golden set's numbers."""

from __future__ import annotations

import ast
from pathlib import Path

import golden_set
import network_stages
import numpy as np
import pytest
from golden_set import MATCHED, NUMBERS, NUMBERS_V2, ROOM

from diff2i2p_core.models.diff2i2p import Diff2I2P

TOLERANCE = 1e-4
"""Of the largest value. Float64, or two threads, change no output by more than 1e-5."""
MAX_SIZE = 4 * 2**20
NOISE = 1e-8
"""Gradients below this part of the largest are rounding: those of the attention's key biases."""

Numbers = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def stored() -> Numbers:
    with np.load(NUMBERS) as file:
        return dict(file)


@pytest.fixture(scope="module")
def golden() -> golden_set.Golden:
    return golden_set.load_room()


@pytest.fixture(scope="module")
def model() -> Diff2I2P:
    return golden_set.drawn_model()


@pytest.fixture(scope="module")
def stages(golden: golden_set.Golden, model: Diff2I2P) -> network_stages.Stages:
    return network_stages.run_stages(model, golden.pair)


@pytest.fixture(scope="module")
def computed(golden: golden_set.Golden, model: Diff2I2P, stages: network_stages.Stages) -> Numbers:
    return golden_set.stage_numbers(golden.pair, stages) | golden_set.pose_numbers(model, golden, stages)


@pytest.fixture(scope="module")
def second(model: Diff2I2P, stages: network_stages.Stages) -> Numbers:
    """Matches by the rules of RGB-D Scenes V2."""
    return golden_set.second_benchmark_numbers(model, stages)


@pytest.fixture(scope="module")
def step(golden: golden_set.Golden, model: Diff2I2P, computed: Numbers, stored: Numbers) -> Numbers:
    """After `computed`, since it puts the network into training mode."""
    matched = golden_set.matched_rows(stored)
    return golden_set.step_numbers(golden_set.released_step(model, golden, matched))


def off(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a fraction of the largest value."""
    assert actual.shape == expected.shape
    return float(np.abs(actual.astype(float) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("stage", ["pyramid", "image", "submap", "patches", "fused", "pose"])
def test_stage(stage: str, computed: Numbers, stored: Numbers) -> None:
    names = [name for name in stored if name.startswith(f"{stage}.")]
    assert len(names) >= 4
    assert {name: error for name in names if (error := off(computed[name], stored[name])) > TOLERANCE} == {}


def test_coarse_pairs_and_matches(computed: Numbers, stored: Numbers) -> None:
    """Parameters changed by 1e-5 give the same choice, so rounding does not decide."""
    for first, second in (MATCHED[:2], MATCHED[2:]):
        expected, found = (
            set(zip(n[f"matches.{first}"].tolist(), n[f"matches.{second}"].tolist(), strict=True))
            for n in (stored, computed)
        )
        assert len(expected) > 80 and found == expected


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_rgbd_scenes_v2(mode: str, second: Numbers) -> None:
    with np.load(NUMBERS_V2) as file:
        expected = dict(file)
    for first, then in (MATCHED[:2], MATCHED[2:]):
        listed, found = (
            set(zip(n[f"{mode}.{first}"].tolist(), n[f"{mode}.{then}"].tolist(), strict=True))
            for n in (expected, second)
        )
        assert len(listed) > 100 and found == listed
    for name in ("scores", "points"):
        assert off(second[f"{mode}.{name}"], expected[f"{mode}.{name}"]) < TOLERANCE


@pytest.mark.parametrize("rule", ["coarse_top_k", "coarse_distance", "fine_top_k"])
def test_each_rule_of_rgbd_scenes_v2_counts(
    rule: str, model: Diff2I2P, stages: network_stages.Stages, second: Numbers
) -> None:
    """With that of 7-Scenes, the numbers are others."""
    value = getattr(golden_set.CONFIG.matching, rule)
    changed = golden_set.second_benchmark_numbers(model, stages, [f"model.replace.matching.{rule}={value}"])
    assert changed["evaluation.scores"].shape != second["evaluation.scores"].shape


@pytest.mark.parametrize("name", ["scores", "points", "offsets"])
def test_scores_and_tuning_of_the_matches(name: str, computed: Numbers, stored: Numbers) -> None:
    assert off(computed[f"matches.{name}"], stored[f"matches.{name}"]) < TOLERANCE


def test_losses(step: Numbers, stored: Numbers) -> None:
    names = [name for name in stored if name.startswith("loss.")]
    assert len(names) == 7
    assert {name: error for name in names if (error := off(step[name], stored[name])) > 1e-5} == {}


def test_gradients(step: Numbers, stored: Numbers) -> None:
    """The median error is below 1e-4. Single gradients differ more, since rounding moves some activations
    across the bend of a ReLU: with two threads the worst norm is 1.2e-4 off."""
    norms = stored["gradient.norms"]
    counted = norms > NOISE * norms.max()
    assert counted.sum() == len(norms) - 6
    errors = np.abs(step["gradient.norms"] / norms - 1)[counted]
    assert np.median(errors) < TOLERANCE and errors.max() < 2e-3
    slices = [name for name in stored if name.startswith("gradient.") and name != "gradient.norms"]
    errors = np.array([off(step[name], stored[name]) for name in slices])
    assert len(slices) == 15 and np.median(errors) < TOLERANCE and errors.max() < 0.01


def test_weights_are_the_same_to_the_bit() -> None:
    drawn = golden_set.drawn_tensor("fusion.output.weight", (256, 256)).numpy()
    assert drawn.flat[:3].tolist() == [-0.09662632644176483, -0.000518940098118037, 0.08404332399368286]
    assert np.abs(drawn.sum(1)).max() < 1e-4 and drawn.std() == pytest.approx(1 / 16, rel=0.01)


def test_the_set_is_small() -> None:
    assert sum(path.stat().st_size for path in (ROOM, NUMBERS, NUMBERS_V2)) < MAX_SIZE


@pytest.mark.parametrize(
    ("function", "comparison", "maker"),
    [
        ("run_stages", "models/test_parity.py", "golden/make_golden_set.py"),
        ("training_step", "losses/test_released_training.py", "golden/golden_set.py"),
    ],
)
def test_one_function_made_the_set_and_equals_the_released_code(
    function: str, comparison: str, maker: str
) -> None:
    """With the released code's weights and pairs, it gives the released code's numbers."""
    for file in (comparison, maker):
        tree = ast.parse((Path(__file__).parents[1] / file).read_text(encoding="utf-8"))
        imported = {
            alias.name
            for statement in tree.body
            if isinstance(statement, ast.ImportFrom) and statement.module == "network_stages"
            for alias in statement.names
        }
        calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        assert function in imported & {call.id for call in calls if isinstance(call, ast.Name)}, file
