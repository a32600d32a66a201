"""Plots errors over the time of a recording, as inline SVG."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.reports.plots import describe, grade

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1100, 210, 52, 14, 26, 46
"""Size of the drawing and of its margins, in pixels."""
GAP = 1.0
"""Seconds without a pose from which on a gap is marked."""


def errors_over_time(
    results: Sequence[QueryResult],
    error: Callable[[QueryResult], float | None],
    begin: float,
    end: float,
    title: str,
    limits: Sequence[float],
    unit: str,
) -> str:
    """The `error` of each image as a dot on a logarithmic scale, with `limits` as lines. Gaps without a pose
    are shaded, and images that were not localized are ticks below. Hovering shows image and reason."""
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    duration = max(end - begin, 1e-9)
    values = [value for r in results if (value := error(r)) is not None]
    low = min(limits) / 10
    high = max([2 * max(limits), *values])

    def x(stamp: float) -> float:
        return LEFT + (stamp - begin) / duration * plot_width

    def y(value: float) -> float:
        fraction = np.log(max(value, low) / low) / np.log(high / low)
        return float(TOP + (1 - fraction) * plot_height)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">']
    parts.append(f'<text x="{LEFT}" y="15" class="title">{html.escape(title)}</text>')
    for start, stop in gaps(results, begin, end):
        parts.append(
            f'<rect x="{x(start):.1f}" y="{TOP}" width="{x(stop) - x(start):.1f}" height="{plot_height}" '
            f'class="gap"><title>{stop - start:.1f} s without a pose</title></rect>'
        )
    for limit in (low, *limits):
        py = y(limit)
        parts.append(f'<line x1="{LEFT}" y1="{py:.1f}" x2="{WIDTH - RIGHT}" y2="{py:.1f}" class="grid"/>')
        label = f"{limit:g} {unit}"
        parts.append(f'<text x="{LEFT - 5}" y="{py + 4:.1f}" class="tick" text-anchor="end">{label}</text>')
    for seconds in np.linspace(0, duration, 6):
        anchor = "end" if seconds == duration else "middle"
        parts.append(
            f'<text x="{x(begin + seconds):.1f}" y="{HEIGHT - 8}" class="tick" text-anchor="{anchor}">'
            f"{seconds:.1f} s</text>"
        )
    tick = TOP + plot_height + 6
    for result in results:
        value = error(result)
        words = f"<title>{html.escape(describe(result))}</title>"
        if result.map_from_camera is None:
            parts.append(f'<path d="M{x(result.stamp):.1f} {tick}v12" class="missing">{words}</path>')
        elif value is not None:
            position = f'cx="{x(result.stamp):.1f}" cy="{y(value):.1f}"'
            parts.append(f'<circle {position} r="3" class="{grade(result)}">{words}</circle>')
    return "".join([*parts, "</svg>"])


def gaps(results: Sequence[QueryResult], begin: float, end: float) -> list[tuple[float, float]]:
    """Times of more than `GAP` seconds without a pose: first and last second."""
    stamps = [begin, *(r.stamp for r in results if r.map_from_camera is not None), end]
    return [(a, b) for a, b in pairwise(stamps) if b - a > GAP]
