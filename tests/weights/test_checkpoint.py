"""Weights files: what is written is read back, and anything else is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diff2i2p_core.errors import InputError
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.weights.checkpoint import load_model, read_config, resolve_weights, save_model, start_from


def test_safetensors_round_trip(tiny_weights: Path, tmp_path: Path) -> None:
    model = load_model(tiny_weights)
    copy = tmp_path / "copy.safetensors"
    save_model(model, copy, {"run": "test"})
    again = load_model(copy)
    assert again.config == model.config
    assert read_config(copy)[1] == {"run": "test"}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_half_precision_is_half_the_size(tiny_weights: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    model = load_model(tiny_weights)
    save_model(model, half, half=True)
    assert half.stat().st_size < 0.7 * tiny_weights.stat().st_size
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(load_model(half).state_dict()[name], tensor, rtol=1e-3, atol=1e-3)


def test_released_checkpoint_in_its_dictionary(golden_dir: Path, tmp_path: Path) -> None:
    state = torch.load(golden_dir / "state_dict_fp16.pth", weights_only=True)
    path = tmp_path / "epoch-40.pth"
    torch.save({"metadata": {"epoch": 40, "total_steps": 1}, "model": state}, path)
    assert isinstance(load_model(path), Diff2I2P)
    state.pop("transformer.out_proj.bias")
    torch.save({"model": state}, path)
    with pytest.raises(InputError, match=r"epoch-40.pth: lacks 1 tensors .* 'fusion.output.bias'"):
        load_model(path)


@pytest.mark.parametrize("tuned", [True, False])
def test_tuning_may_be_new_or_left_behind(tiny_weights: Path, tmp_path: Path, tuned: bool) -> None:
    plain = load_model(tiny_weights)
    with_tuning = Diff2I2P(plain.config.model_copy(update={"tuning": True}))
    given, path = (with_tuning, tmp_path / "tuned.safetensors") if tuned else (plain, tiny_weights)
    if tuned:
        save_model(with_tuning, path)
    fresh = Diff2I2P(plain.config.model_copy(update={"tuning": not tuned}))
    start_from(fresh, path)
    for name, tensor in given.state_dict().items():
        assert name.startswith("tuning.") or torch.equal(fresh.state_dict()[name], tensor)
    same = Diff2I2P(given.config)
    start_from(same, path)
    assert all(torch.equal(same.state_dict()[name], tensor) for name, tensor in given.state_dict().items())


def test_weights_of_another_architecture_start_nothing(tiny_weights: Path) -> None:
    other = Diff2I2P(load_model(tiny_weights).config.model_copy(update={"fine_dim": 8}))
    with pytest.raises(InputError, match="misshapen"):
        start_from(other, tiny_weights)


class _Evil:
    """A pickle that would write a file when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    mark = tmp_path / "owned"
    path = tmp_path / "evil.pth"
    with path.open("wb") as file:
        pickle.dump({"model": _Evil(mark)}, file)
    with pytest.raises(InputError, match="not a checkpoint of plain tensors"):
        load_model(path)
    torch.save({"model": _Evil(mark)}, path)
    with pytest.raises(InputError, match="not a checkpoint of plain tensors"):
        load_model(path)
    assert not mark.exists()


def test_broken_files_are_named(tiny_weights: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"cut.safetensors: broken or cut off"):
        load_model(cut)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(InputError, match="not weights of this project"):
        load_model(foreign)
    with pytest.raises(InputError, match="no such file or shipped name"):
        resolve_weights("nonsense")
