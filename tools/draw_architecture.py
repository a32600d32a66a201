"""Draws the parts of the core and their imports, as the code has them now: docs/images/architecture.svg.

    python tools/draw_architecture.py

Boxes are packages with their number of files, in the rows of docs/architecture.md; a part imports only from
parts below it. Arrows lead to the packages that a package uses most, other than those that nearly all use.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
CORE = REPO / "diff2i2p_core"
DRAWING = REPO / "docs/images/architecture.svg"
MOST_USED = 3
"""Arrows from a package."""
USED_BY_ALL = {"io", "geometry", "ops"}
WIDTH, BOX, ROW, MARGIN = 980, (128, 46), 112, 24
STYLE = """<style>
text{font:13px sans-serif;fill:#1d2733}.name,.small{text-anchor:middle}
.small{font-size:11px;fill:#5b6875}.row{font-weight:600;fill:#5b6875}
rect{fill:#e8f0fa;stroke:#4a78b0}path{fill:none;stroke:#4a78b0}.head{fill:#4a78b0}
@media(prefers-color-scheme:dark){text{fill:#e6ebf0}.small,.row{fill:#9aa7b4}rect{fill:#22344a;stroke:#7fa8d8}
path{stroke:#7fa8d8}.head{fill:#7fa8d8}}</style>"""


def rows() -> dict[str, list[str]]:
    """The packages of each row of the page's drawing, top first."""
    drawing = (REPO / "docs/architecture.md").read_text(encoding="utf-8").split("```")[3]
    found = {}
    for row in re.split(r"\n +─+\n", drawing.strip("\n")):
        lines = row.splitlines()
        name = " ".join(line[:13].strip() for line in lines).strip()
        parts = [re.split(r"  |, ", line[13:])[0] for line in lines]
        found[name] = [part for part in parts if (CORE / part).is_dir()]
    return found


def imported(path: Path) -> Iterator[str]:
    """The parts of the core that a file imports."""
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("diff2i2p_core."):
            yield (statement.module or "").split(".")[1]


def used_by(part: str) -> Counter[str]:
    """By part: the number of a package's files that import from it."""
    files = sorted((CORE / part).rglob("*.py"))
    return Counter(name for path in files for name in sorted(set(imported(path))) if name != part)


def drawing() -> str:
    """The SVG."""
    layout = rows()
    place = {}
    for number, parts in enumerate(layout.values()):
        left = 130 + (WIDTH - 130 - MARGIN - len(parts) * (BOX[0] + 60) + 60) / 2
        for column, part in enumerate(parts):
            place[part] = left + column * (BOX[0] + 60), MARGIN + number * ROW
    height = 2 * MARGIN + (len(layout) - 1) * ROW + BOX[1]
    shapes = [
        f'<text class="row" x="{MARGIN}" y="{MARGIN + number * ROW + 28}">{name}</text>'
        for number, name in enumerate(layout)
    ]
    for part, (x, y) in place.items():
        used = [(name, count) for name, count in used_by(part).most_common() if name in place]
        below = [(name, count) for name, count in used if name not in USED_BY_ALL and place[name][1] > y]
        for name, count in below[:MOST_USED]:
            shapes.append(_arrow((x, y), place[name], count))
    for part, (x, y) in place.items():
        files = len(list((CORE / part).rglob("*.py")))
        middle = x + BOX[0] / 2
        shapes.append(f'<rect x="{x:.0f}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>')
        for kind, down, words in (("name", 20, part), ("small", 36, f"{files} files")):
            shapes.append(f'<text class="{kind}" x="{middle:.0f}" y="{y + down}">{words}</text>')
    head = (
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    body = "\n".join(shapes)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{STYLE}\n{head}\n{body}\n</svg>\n'


def _arrow(start: tuple[float, float], end: tuple[float, float], count: int) -> str:
    """A curve from the bottom of a box to the top of another; the more files import it, the wider."""
    x, y = start[0] + BOX[0] / 2, start[1] + BOX[1]
    to_x, to_y = end[0] + BOX[0] / 2, end[1] - 2
    bend = min(60.0, (to_y - y) / 2)
    width = 0.8 + min(count, 24) / 12
    curve = f"M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"
    return f'<path d="{curve}" stroke-width="{width:.1f}" opacity="0.7" marker-end="url(#a)"/>'


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
