"""The kernel of mutual matches between patches finds the matches of its plain reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.ops.mutual import mutual_matches


def patches(
    pairs: int, height: int, width: int, channels: int, device: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit features with a match here and there, rows stored channel by channel as a convolution outputs
    them; a fifth of the columns is padding."""
    generator = torch.Generator().manual_seed(0)
    total_rows, total_columns = 2 * height, 3 * width
    column_features = F.normalize(torch.randn(total_columns, channels, generator=generator), dim=1)
    near = column_features[torch.randint(total_columns, (total_rows,), generator=generator)]
    noise = torch.randn(total_rows, channels, generator=generator) / channels**0.5
    row_features = F.normalize(near + noise, dim=1).t().contiguous().t()
    rows = torch.stack([torch.randperm(total_rows, generator=generator)[:height] for _ in range(pairs)])
    columns = torch.stack([torch.randperm(total_columns, generator=generator)[:width] for _ in range(pairs)])
    columns[torch.rand(columns.shape, generator=generator) < 0.2] = total_columns
    return rows.to(device), columns.to(device), row_features.to(device), column_features.to(device)


def matches(example: tuple[Tensor, Tensor, Tensor, Tensor], **options: Any) -> list[tuple[int, int]]:
    return sorted(zip(*(found.tolist() for found in mutual_matches(*example, **options)), strict=True))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(("height", "width", "channels"), [(150, 37, 40), (16, 9, 64)])
def test_kernel_is_the_reference(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch, k: int, height: int, width: int, channels: int
) -> None:
    example = patches(3, height, width, channels, kernel_device)
    ours = matches(example, k=k, least=0.5)
    everything = matches(example, k=k, least=-1.0)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    assert len(ours) > 5
    assert ours == matches(example, k=k, least=0.5)
    assert everything == matches(example, k=k, least=-1.0)


@pytest.mark.parametrize("k", [1, 5])
def test_small_patches_whose_best_matches_are_dissimilar(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    """The kernel's padding must not win against negative similarities; there are fewer than k columns."""
    rows, columns, row_features, column_features = patches(20, 3, 2, 8, kernel_device)
    example = rows, columns, -row_features, column_features
    ours = matches(example, k=k, least=-1.0)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    assert ours == matches(example, k=k, least=-1.0)
    assert len(ours) > len(matches(example, k=k, least=0.0))


def launches() -> None:
    """Patches of the networks: 16 to 1600 pixels, up to 128 points, in float32 and half precision."""
    from diff2i2p_core.ops.kernels.mutual import best_in_patches

    for height, width, channels, dtype in (
        (1600, 128, 128, torch.float32),
        (1600, 119, 128, torch.bfloat16),
        (64, 33, 64, torch.float32),
        (16, 9, 64, torch.float16),
    ):
        rows, columns, a, b = patches(2, height, width, channels, "cpu")
        for k in (1, 2):
            best_in_patches(rows, columns, a.to(dtype), b.to(dtype), k)


@pytest.mark.slow
def test_kernel_compiles_for_a_gpu(compile_launches: Callable[..., list[dict[str, Any]]]) -> None:
    kernels = compile_launches("test_mutual_kernel:launches")
    assert {k["name"] for k in kernels} == {"best_in_block"}
    for kernel in kernels:
        assert kernel["spilled"] == 0
        assert kernel["shared"] <= 100 * 1024
