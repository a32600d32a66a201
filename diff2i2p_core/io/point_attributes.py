"""Colours and intensity of points, under the names and in the scales of many writers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.io.chunks import chunks

Columns = Mapping[str, NDArray[Any]]
"""Values (N,) or (N, k) of points by the names in a file or message."""

COLOR_NAMES = (
    ("red", "green", "blue"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ("vertex_red", "vertex_green", "vertex_blue"),
    ("r", "g", "b"),
    ("rf", "gf", "bf"),
    ("color_r", "color_g", "color_b"),
    ("colour_r", "colour_g", "colour_b"),
)
"""Names of colour channels, in the order of preference. Case and the prefix `scalar_` do not matter."""
PACKED_NAMES = ("rgb", "rgba")
"""Names of colours packed into one number, or stored as three or four bytes."""
SPLAT_NAMES = ("f_dc_0", "f_dc_1", "f_dc_2")
"""Constant colours of Gaussian splats: coefficients of spherical harmonics."""
INTENSITY_NAMES = (
    "intensity",
    "Intensity",
    "intensities",
    "reflectivity",
    "reflectance",
    "remission",
    "signal",
    "amplitude",
    "scalar_Intensity",
    "i",
)
"""Names used by lidar drivers and writers; the first match is taken, whatever its case."""
ONE_COLOR = "its colours are all the same and are left out"
ONE_INTENSITY = "its intensity is the same at all points and is left out"
_SPLAT_SCALE = 0.28209479177387814
_INTENSITY_PERCENTILES = (1, 99)
"""Percentiles that become 0 and 255, because a few points on reflectors are far brighter than all others."""
_SCALE_PERCENTILE = 90
"""The percentile of the values above 0 that tells in which scale colours are."""
_LOOKS_LIKE_COLOR = re.compile(r"rgb|bgr|colou?r|^(.*_)?(red|green|blue)$|^f_dc_\d$")
_LOOKS_LIKE_INTENSITY = re.compile(r"intens|reflect|remission|amplitude")


def plain_name(name: str) -> str:
    """A field's name without case, and without CloudCompare's prefix."""
    return name.lower().removeprefix("scalar_")


def is_attribute(name: str) -> bool:
    """Whether a field may hold colours or an intensity."""
    plain, known = plain_name(name), (*COLOR_NAMES, PACKED_NAMES, SPLAT_NAMES, INTENSITY_NAMES)
    alike = _LOOKS_LIKE_COLOR.search(plain) or _LOOKS_LIKE_INTENSITY.search(plain)
    return alike is not None or any(plain in names for names in known)


def by_plain_name(names: Iterable[str]) -> dict[str, str]:
    """The names by their plain names. An exact name takes precedence, then the first."""
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name != plain_name(name)):
        found.setdefault(plain_name(name), name)
    return found


def colors_of(columns: Columns) -> tuple[NDArray[np.uint8] | None, str]:
    """(N, 3) RGB of points, or None; and words about colours that are lost, or ""."""
    names = by_plain_name(columns)
    colors, words = None, ""
    for channels in COLOR_NAMES:
        if colors is None and all(name in names for name in channels):
            colors = to_uint8(np.stack([columns[names[name]] for name in channels], axis=1))
    for name in PACKED_NAMES:
        if colors is None and name in names:
            colors, words = _packed(columns[names[name]])
    if colors is None and all(name in names for name in SPLAT_NAMES):
        harmonics = np.stack([columns[names[name]] for name in SPLAT_NAMES], axis=1)
        known = np.nan_to_num(0.5 + _SPLAT_SCALE * harmonics.astype(np.float32))
        colors = np.rint(np.clip(known, 0, 1) * 255).astype(np.uint8)
    if colors is None:
        return None, _not_understood(columns, _LOOKS_LIKE_COLOR, "colours")
    return colors, words


def telling(
    colors: NDArray[Any] | None, intensity: NDArray[Any] | None
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None, list[str]]:
    """Colours (N, 3) and intensity (N,) in any scale as uint8, and words about those that are left out: the
    same at all points, as in a CAD model, they show nothing. An intensity of 0 is not mentioned, because LAS
    files without one hold that."""
    words = []
    bytes_ = None if colors is None else to_uint8(colors)
    if bytes_ is not None and len(bytes_) > 1 and bool((bytes_ == bytes_[0]).all()):
        bytes_ = None
        words.append(ONE_COLOR)
    scaled = None if intensity is None else scaled_intensity(intensity)
    if intensity is not None and scaled is None and np.any(intensity):
        words.append(ONE_INTENSITY)
    return bytes_, scaled, words


def intensity_of(columns: Columns) -> tuple[NDArray[Any] | None, str]:
    """(N,) intensity as stored, or None; and words about an intensity that is not understood, or ""."""
    names = by_plain_name(columns)
    for name in map(plain_name, INTENSITY_NAMES):
        if name in names and columns[names[name]].ndim == 1:
            return columns[names[name]], ""
    return None, _not_understood(columns, _LOOKS_LIKE_INTENSITY, "an intensity")


def to_uint8(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB as uint8 from 0-1 (floats), 8 or 16 bits. A few values that are out of range are clipped."""
    if colors.dtype == np.int8:  # bytes of a writer that calls them char
        colors = colors.view(np.uint8)
    if colors.dtype == np.uint8:
        return np.ascontiguousarray(colors)
    scale = _scale(colors)
    result = np.empty(colors.shape, np.uint8)
    for rows in chunks(len(colors)):
        known = np.nan_to_num(colors[rows].astype(np.float64), posinf=0, neginf=0)
        result[rows] = np.rint(np.clip(known * scale, 0, 255))
    return result


def _scale(colors: NDArray[Any]) -> float:
    """The factor to 0-255. Most of the values decide, not the largest."""
    shown = colors[np.isfinite(colors) & (colors > 0)]
    top = np.percentile(shown, _SCALE_PERCENTILE, method="lower") if len(shown) else 0.0
    if top > 256:  # LAS specifies 16 bits, but many writers use 8, and some of these go up to 256
        return 1 / 257
    return 255.0 if top <= 2 and np.issubdtype(colors.dtype, np.floating) else 1.0


def scaled_intensity(values: NDArray[Any]) -> NDArray[np.uint8] | None:
    """(N,) in any unit, scaled to 0-255 by robust limits. None if all values are equal (no data)."""
    if len(values) == 0:
        return None
    limit = float(np.finfo(np.float32).max)
    known = np.where(np.isfinite(values) & (np.abs(values) < limit), values, 0).astype(np.float32)
    low, high = np.percentile(known, _INTENSITY_PERCENTILES)
    if high <= low:
        low, high = known.min(), known.max()
    if high <= low:
        return None
    shares = np.clip((known - low) / (high - low), 0, 1)
    scaled: NDArray[np.uint8] = np.rint(shares * 255).astype(np.uint8)
    return scaled


def _packed(values: NDArray[Any]) -> tuple[NDArray[np.uint8] | None, str]:
    """Colours of a field rgb or rgba, and words about colours that are lost, or ""."""
    if values.ndim == 2:
        return (to_uint8(values[:, :3]), "") if values.shape[1] in (3, 4) else (None, "")
    bits, unknown = None, 0
    if values.dtype.kind == "f" and values.dtype.itemsize in (4, 8):
        bits, unknown = _bits_of_floats(values)
    elif values.dtype.kind in "iu" and values.dtype.itemsize in (4, 8):
        bits = (values.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)
    if bits is None:
        return None, ""
    colors = np.stack([(bits >> shift) & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)
    return colors, f"{unknown} of its colours are NaN and become black" if unknown else ""


def _bits_of_floats(values: NDArray[Any]) -> tuple[NDArray[np.uint32], int]:
    """The bits of packed colours, and how many of them are lost.

    PCL stores the bits of an integer as a float; these are tiny, huge or NaN. Other writers store the
    integer's value. In text, the bits of a NaN are lost.
    """
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    finite = np.isfinite(native)
    given = native[finite & (native != 0)]
    sizes = np.abs(given)
    if len(given) and bool(((sizes >= 1) & (sizes < 2**32) & (given == np.rint(given))).all()):
        whole = np.where(finite, native, 0).astype(np.int64)
        return (whole & 0xFFFFFFFF).astype(np.uint32), int((~finite).sum())
    if native.dtype.itemsize == 4:
        return np.ascontiguousarray(native).view(np.uint32), 0
    with np.errstate(over="ignore"):
        bits = native.astype(np.float32).view(np.uint32)
    return np.where(np.isnan(native), np.uint32(0), bits), int(np.isnan(native).sum())


def _not_understood(columns: Columns, pattern: re.Pattern[str], what: str) -> str:
    alike = [name for name in columns if pattern.search(plain_name(name))]
    return f"its fields {', '.join(alike[:6])} are not understood as {what} and are left out" if alike else ""
