"""Colours and intensity under many names and in many scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diff2i2p_core.io.point_attributes import (
    COLOR_NAMES,
    colors_of,
    intensity_of,
    scaled_intensity,
    telling,
    to_uint8,
)

COLORS = np.random.default_rng(0).integers(0, 256, (300, 3), dtype=np.uint8)
PACKED = COLORS.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


def columns(values: NDArray[Any], names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    return {name: values[:, i] for i, name in enumerate(names)}


def off(found: NDArray[np.uint8] | None, wanted: NDArray[np.uint8] = COLORS) -> int:
    assert found is not None and found.dtype == np.uint8
    return int(np.abs(found.astype(int) - wanted).max())


@pytest.mark.parametrize(
    "names", [*COLOR_NAMES, ("Red", "Green", "Blue"), ("scalar_R", "scalar_G", "scalar_B")]
)
def test_channels_under_their_usual_names(names: tuple[str, ...]) -> None:
    found, words = colors_of(columns(COLORS, names))
    assert off(found) == 0 and words == ""


@pytest.mark.parametrize("scale", [(np.uint8, 1), (np.int32, 1), (np.uint16, 257), (np.float32, 1 / 255)])
@pytest.mark.parametrize("outlier", [256, 1.004, 65535, 300.5, -4, 1e9])
def test_one_value_out_of_range_does_not_change_the_scale(scale: tuple[Any, float], outlier: float) -> None:
    kind, factor = scale
    stored = (COLORS.astype(np.float64) * factor).astype(kind)
    if np.issubdtype(kind, np.integer):
        outlier = min(max(int(outlier), np.iinfo(kind).min), np.iinfo(kind).max)
    stored[7] = outlier
    assert off(np.delete(to_uint8(stored), 7, axis=0), np.delete(COLORS, 7, axis=0)) <= 1


def test_shifted_and_mostly_missing_colours() -> None:
    assert off(to_uint8(COLORS.astype(np.uint16) << 8)) <= 1
    assert off(to_uint8(COLORS.view(np.int8))) == 0
    sparse = np.zeros((3000, 3), np.uint16)
    sparse[:300] = COLORS.astype(np.uint16) * 257
    assert off(to_uint8(sparse)[:300]) == 0
    unknown = COLORS / np.float32(255)
    unknown[3] = np.nan
    assert not to_uint8(unknown)[3].any()


def floats_of(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    return bits.view(np.float32)


@pytest.mark.parametrize(
    "stored",
    [
        PACKED,
        PACKED.astype(np.int64),
        PACKED.astype(np.float32),
        PACKED.astype(np.float64),
        floats_of(PACKED),
        floats_of(PACKED).astype(">f4"),
        floats_of(PACKED).astype(np.float64),
        (PACKED | 0xFF000000).view(np.int32),
        (PACKED | 0xFF000000).astype(np.float64),
        (PACKED | 0xFF000000).view(np.int32).astype(np.float64),
        floats_of(PACKED | np.uint32(0xFF000000)),
        COLORS,
        np.column_stack([COLORS, np.full(300, 255, np.uint8)]),
    ],
)
def test_packed_colours(stored: NDArray[Any]) -> None:
    found, words = colors_of({"rgb": stored})
    assert off(found) == 0 and words == ""


def test_colours_lost_in_text_are_counted() -> None:
    values = floats_of(PACKED).astype(np.float64)
    values[:2] = np.nan
    found, words = colors_of({"RGB": values})
    assert words == "2 of its colours are NaN and become black"
    assert found is not None and not found[:2].any() and off(found[2:], COLORS[2:]) == 0


def test_gaussian_splats() -> None:
    harmonics = (COLORS / 255 - 0.5) / 0.28209479
    found, _ = colors_of(columns(harmonics.astype(np.float32), ("f_dc_0", "f_dc_1", "f_dc_2")))
    assert off(found) <= 1


@pytest.mark.parametrize("names", [("rgb",), ("nir_red", "color"), ("red", "green"), ("f_dc_0",)])
def test_fields_that_look_like_colours_are_named(names: tuple[str, ...]) -> None:
    found, words = colors_of(columns(np.ones((5, 2), np.uint16), names))
    assert (
        found is None
        and words == f"its fields {', '.join(names)} are not understood as colours and are left out"
    )


def test_one_colour_is_none_and_other_fields_need_no_words() -> None:
    for shade in (0, 128, 255):
        same = np.full((5, 3), shade, np.uint8)
        assert telling(same, None) == (None, None, ["its colours are all the same and are left out"])
        assert telling(same / 255, None)[0] is None
    assert telling(None, np.full(5, 7.0)) == (
        None,
        None,
        ["its intensity is the same at all points and is left out"],
    )
    assert telling(None, np.zeros(5, np.uint16)) == (None, None, []), "LAS files without any hold zeros"
    both = np.arange(15, dtype=np.uint8).reshape(5, 3), np.arange(5)
    colors, intensity, words = telling(*both)
    assert colors is not None and intensity is not None and not words
    assert colors_of({"x": np.zeros(5), "curvature": np.zeros(5), "ring": np.zeros(5)}) == (None, "")


def test_intensity_that_is_not_understood_is_named() -> None:
    found, words = intensity_of({"intensities_raw": np.ones(5)})
    assert (
        found is None
        and words == "its fields intensities_raw are not understood as an intensity and are left out"
    )
    assert intensity_of({"INTENSITY": np.arange(5)})[0] is not None


def test_intensities_beyond_all_limits() -> None:
    values = np.concatenate([np.linspace(0, 100, 500), [np.nan, np.inf, -np.inf, 1e300]])
    scaled = scaled_intensity(values)
    assert scaled is not None and abs(int(scaled[250]) - 128) < 5
