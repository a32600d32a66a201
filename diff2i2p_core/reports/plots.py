"""Small plots as inline SVG: cumulative error curves, trajectories from above."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.typing import Array

GRADES = (
    ("good", "within 10 cm and 5°", 0.10, 5.0),
    ("fair", "within 25 cm and 10°", 0.25, 10.0),
    ("poor", "worse", np.inf, np.inf),
)
"""CSS class, words, metres, degrees."""
LETTER, LINE = 6.2, 13.0
"""Size of a letter of a label in the plots' units."""


def grade(result: QueryResult) -> str:
    """The CSS class of a result: good, fair, poor, none if not localized, unknown without truth."""
    if result.map_from_camera is not None and result.true_map_from_camera is None:
        return "unknown"
    for name, _, metres, degrees in GRADES:
        if result.within(metres, degrees):
            return name
    return "none"


def data_uri(image: NDArray[np.uint8], suffix: str = ".jpg") -> str:
    """An RGB(A) image as a data URI."""
    code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, 85] if suffix == ".jpg" else []
    _, encoded = cv2.imencode(suffix, cv2.cvtColor(image, code), options)
    kind = "jpeg" if suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"


def cumulative_curve(
    errors: Sequence[float | None], limit: float, unit: str, title: str, marks: Sequence[float]
) -> str:
    """The fraction of all images with an error of at most x, for x up to `limit`. None counts as never."""
    width, height, left, bottom = 360, 230, 44, 34
    plot_width, plot_height = width - left - 12, height - bottom - 26
    known = np.sort([e for e in errors if e is not None and e <= limit])
    xs = np.concatenate([[0.0], np.repeat(known, 2), [limit]])
    counts = np.repeat(np.arange(len(known) + 1), 2)
    ys = counts / max(len(errors), 1)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x / limit * plot_width, 26 + (1 - y) * plot_height

    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(x, y) for x, y in zip(xs, ys, strict=True)))
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">']
    parts.append(f'<text x="{left}" y="15" class="title">{html.escape(title)}</text>')
    for fraction in (0, 0.25, 0.5, 0.75, 1.0):
        x0, y0 = at(0, fraction)
        parts.append(f'<line x1="{x0}" y1="{y0:.1f}" x2="{left + plot_width}" y2="{y0:.1f}" class="grid"/>')
        parts.append(
            f'<text x="{left - 6}" y="{y0 + 4:.1f}" class="tick" text-anchor="end">{fraction:.0%}</text>'
        )
    for x in np.linspace(0, limit, 6):
        px, py = at(float(x), 0)
        label, anchor = (f"{x:g}", "middle") if x < limit else (f"{x:g} {unit}", "end")
        parts.append(
            f'<text x="{px:.1f}" y="{py + 16:.1f}" class="tick" text-anchor="{anchor}">{label}</text>'
        )
    labels: list[tuple[float, float, float]] = []
    for mark in marks:
        px, top = at(mark, 1)
        fraction = sum(e is not None and e <= mark for e in errors) / max(len(errors), 1)
        parts.append(f'<line x1="{px:.1f}" y1="{top}" x2="{px:.1f}" y2="{top + plot_height}" class="mark"/>')
        _, y = at(mark, fraction)
        parts.append(f'<circle cx="{px:.1f}" cy="{y:.1f}" r="3.5" class="curve-dot"/>')
        if fraction > 0:
            label = f"{fraction:.0%} ≤ {mark:g} {unit}"
            label_x = min(px + 5, width - LETTER * len(label))
            step = LINE if fraction > 0.5 else -LINE  # away from the plot's edge
            label_y = _free_line(labels, label_x, y + 13 if fraction > 0.1 else y - 6, label, step)
            parts.append(f'<text x="{label_x:.1f}" y="{label_y:.1f}" class="tick">{label}</text>')
    parts.append(f'<polyline points="{path}" class="curve"/></svg>')
    return "".join(parts)


def _free_line(labels: list[tuple[float, float, float]], x: float, y: float, text: str, step: float) -> float:
    """The height nearest to `y`, in steps, at which `text` covers none of `labels` (left, right, height)."""
    right = x + LETTER * len(text)
    while any(x < r and left < right and abs(y - height) < LINE for left, r, height in labels):
        y += step
    labels.append((x, right, y))
    return y


def histogram(
    values: Sequence[float],
    title: str,
    mark: float,
    bins: int = 20,
    *,
    limit: float = 1.0,
    words: Callable[[float], str] = "{:.0%}".format,
) -> str:
    """The fraction of values in [0, limit] in each of `bins`. `mark` is a line, with the fraction above."""
    width, height, left, bottom = 360, 230, 44, 34
    plot_width, plot_height = width - left - 12, height - bottom - 26
    fractions = np.histogram(values, bins, (0, limit))[0] / max(len(values), 1)
    top = max(float(fractions.max()), 1e-9)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">']
    parts.append(f'<text x="{left}" y="15" class="title">{html.escape(title)}</text>')
    for part in (0, 0.5, 1.0):
        y = 26 + (1 - part) * plot_height
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + plot_width}" y2="{y:.1f}" class="grid"/>')
        parts.append(
            f'<text x="{left - 6}" y="{y + 4:.1f}" class="tick" text-anchor="end">{part * top:.0%}</text>'
        )
    for index, fraction in enumerate(fractions):
        x, tall = left + index / bins * plot_width, fraction / top * plot_height
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{26 + plot_height - tall:.1f}" width="{plot_width / bins - 2:.1f}" '
            f'height="{tall:.1f}" class="curve-dot"/>'
        )
    for x in np.linspace(0, 1, 6):
        px, anchor = left + float(x) * plot_width, "middle" if x < 1 else "end"
        y = height - bottom + 16
        parts.append(
            f'<text x="{px:.1f}" y="{y}" class="tick" text-anchor="{anchor}">{words(x * limit)}</text>'
        )
    px = left + mark / limit * plot_width
    shift, anchor = (5, "start") if mark < 0.7 * limit else (-5, "end")
    fraction = sum(value >= mark for value in values) / max(len(values), 1)
    parts.append(f'<line x1="{px:.1f}" y1="26" x2="{px:.1f}" y2="{26 + plot_height}" class="mark"/>')
    label = f"{fraction:.0%} ≥ {words(mark)}"
    parts.append(
        f'<text x="{px + shift:.1f}" y="37" class="tick" text-anchor="{anchor}">{label}</text></svg>'
    )
    return "".join(parts)


def top_view(results: Sequence[QueryResult], points: NDArray[np.float32]) -> str:
    """The true path and the estimates over the map, from above (along the cameras' mean down axis).

    At least one of the results must have a true or an estimated pose.
    """
    known = [pose for r in results if (pose := _pose(r)) is not None]
    horizontal, center = _ground_plane(known)
    if len(points) > 2:  # the longer side of the map is horizontal
        _, axes = np.linalg.eigh(np.cov((points @ horizontal.T).T))
        turned = axes[:, ::-1].T
        horizontal = turned @ horizontal if np.linalg.det(turned) > 0 else (turned * [[1], [-1]]) @ horizontal
    flat = (points - center) @ horizontal.T
    path = np.stack([horizontal @ (pose[:3, 3] - center) for pose in known])
    low, high = np.percentile(flat, [1, 99], axis=0) if len(flat) else (path.min(0), path.max(0))
    low, high = np.minimum(low, path.min(0)) - 0.3, np.maximum(high, path.max(0)) + 0.3
    width = 720.0
    scale = width / (high[0] - low[0])
    height = float((high[1] - low[1]) * scale)

    def at(pose: Array) -> tuple[float, float]:
        x, y = (horizontal @ (pose[:3, 3] - center) - low) * scale
        return float(x), float(height - y)

    parts = [f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="trajectory from above">']
    background = data_uri(_density(flat, low, high), ".png")
    parts.append(f'<image href="{background}" width="{width:.0f}" height="{height:.0f}"/>')
    true = [r.true_map_from_camera for r in results if r.true_map_from_camera is not None]
    truth = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, true))
    parts.append(f'<polyline points="{truth}" class="truth"/>')
    for result in results:
        pose = _pose(result)
        if pose is None:
            continue
        x, y = at(pose)
        dx, dy = horizontal @ pose[:3, 2] * 14
        parts.append(f'<path d="M{x:.1f} {y:.1f}l{dx:.1f} {-dy:.1f}" class="look"/>')
        label = f"<title>{html.escape(describe(result))}</title>"
        if result.map_from_camera is None:
            cross = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
            parts.append(f'<path d="{cross}" class="missing">{label}</path>')
            continue
        ex, ey = at(result.map_from_camera)
        parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{ex:.1f}" y2="{ey:.1f}" class="error"/>')
        parts.append(f'<circle cx="{ex:.1f}" cy="{ey:.1f}" r="4" class="{grade(result)}">{label}</circle>')
    bar_x, bar_y = 16, height - 16
    parts.append(
        f'<line x1="{bar_x}" y1="{bar_y:.1f}" x2="{bar_x + scale:.1f}" y2="{bar_y:.1f}" class="bar"/>'
    )
    parts.append(f'<text x="{bar_x}" y="{bar_y - 7:.1f}" class="tick">1 m</text></svg>')
    return "".join(parts)


def describe(result: QueryResult) -> str:
    """One line about a result."""
    translation, rotation = result.translation_error_m, result.rotation_error_deg
    if result.map_from_camera is not None and translation is None:
        return f"frame {result.number}: localized, true pose unknown"
    if translation is None or rotation is None:
        return f"frame {result.number}: not localized ({result.reason or 'no answer'})"
    inliers = "" if result.num_inliers is None else f", {result.num_inliers} inliers"
    return f"frame {result.number}: {100 * translation:.1f} cm, {rotation:.2f} deg off{inliers}"


def _pose(result: QueryResult) -> Array | None:
    """The true or else the estimated pose of the camera."""
    true = result.true_map_from_camera
    return result.map_from_camera if true is None else true


def _ground_plane(poses: Sequence[Array]) -> tuple[Array, Array]:
    """Two horizontal unit rows (2, 3) and the mean position (3,)."""
    stack = np.stack(poses)
    up = -stack[:, :3, 1].mean(0)
    up /= max(float(np.linalg.norm(up)), 1e-9)
    side = np.eye(3)[np.argmin(np.abs(up))]
    first = side - up * (side @ up)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(up, first)]), stack[:, :3, 3].mean(0)


def _density(flat: Array, low: Array, high: Array) -> NDArray[np.uint8]:
    """Map points from above as grey with transparency (H, W, 4), opaque where there are many points."""
    cell = (high[0] - low[0]) / 360
    size = np.maximum(np.ceil((high - low) / cell).astype(int), 1)
    columns, rows = np.clip(((flat - low) / cell).astype(int), 0, size - 1).T
    inside = ((flat >= low) & (flat <= high)).all(1)
    counts = np.zeros((size[1], size[0]), np.float32)
    np.add.at(counts, (size[1] - 1 - rows[inside], columns[inside]), 1)
    counts = cv2.GaussianBlur(counts, (3, 3), 0.8).astype(np.float32)
    level = np.clip(
        counts / max(float(np.percentile(counts[counts > 0], 90)) if inside.any() else 1, 1e-6), 0, 1
    )
    picture = np.full((*counts.shape, 4), 128, np.uint8)
    picture[..., 3] = np.rint(200 * np.sqrt(level))
    return picture
