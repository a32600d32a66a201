"""Where the diffusion prior's models come from, and which are refused."""

from __future__ import annotations

import shutil
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior, find_models


def test_models_with_two_text_encoders_are_refused(parts: dict[str, Any]) -> None:
    unet: Any = torch.nn.Module()
    unet.config = types.SimpleNamespace(addition_embed_type="text_time")
    with pytest.raises(InputError, match="SDXL"):
        DiffusionPrior(**{**parts, "unet": unet}, tokenizer=None)


@pytest.mark.parametrize("argument", ["base", "controlnet"])
def test_a_missing_model_says_what_to_download_and_where_to_put_it(model_folder: Path, argument: str) -> None:
    folders: dict[str, Any] = {
        "base": str(model_folder / "base"),
        "controlnet": str(model_folder / "controlnet"),
    }
    folders[argument] = str(model_folder / "nowhere")
    with pytest.raises(
        InputError, match=rf"{argument}=.*nowhere.*hf download .* set {argument} to its path"
    ) as e:
        DiffusionPrior.load(**folders)
    assert "\n" not in str(e.value)


def test_hub_ids_are_looked_up_in_the_cache_alone(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    folders = []
    for name in ("base", "controlnet"):
        with pytest.raises(InputError, match=rf"not in the hub's cache.*hf download me/{name} .*config.json"):
            find_models("me/base", "me/controlnet")
        entry, commit = cache / f"models--me--{name}", "0" * 40
        folders.append(shutil.copytree(model_folder / name, entry / "snapshots" / commit))
        (entry / "refs").mkdir()
        (entry / "refs" / "main").write_text(commit)
    assert find_models("me/base", "me/controlnet") == tuple(folders)
    (folders[0] / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"unet/diffusion_pytorch_model.safetensors is missing"):
        find_models("me/base", "me/controlnet")
