"""Style and elements of self-contained HTML pages."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from diff2i2p_core.io.files import write_text
from diff2i2p_core.reports.plots import data_uri
from diff2i2p_core.typing import Image

T = TypeVar("T")

STYLE = """
:root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--ink:#1b1f24;--soft:#626b76;--line:#d9dde3;
--accent:#2563c9;--good:#1a8f4c;--fair:#c98a00;--poor:#cf2f2f}
@media(prefers-color-scheme:dark){:root{--back:#14171b;--card:#1d2127;--ink:#e6e9ed;--soft:#98a2ae;
--line:#343b44;--accent:#6ea3ff;--good:#3fc77a;--fair:#e6b13d;--poor:#ff6b63}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 18px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 10px}
p{margin:4px 0 12px;color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(210px,46%),1fr));gap:10px;margin:18px 0}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px;
min-width:0}
.tile b{display:block;font-size:23px;line-height:1.25}.tile span{color:var(--soft);font-size:13px}
.stack{display:grid;gap:10px;margin-bottom:10px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:10px}
svg{width:100%;height:auto;max-height:600px;display:block}
svg text{fill:var(--ink);font-size:11px}svg .title{font-size:13px;font-weight:600}svg .tick{fill:var(--soft)}
.grid{stroke:var(--line)}.mark{stroke:var(--soft);stroke-dasharray:3 3}
.curve{fill:none;stroke:var(--accent);stroke-width:2}.curve-dot{fill:var(--accent)}
.truth{fill:none;stroke:var(--accent);stroke-width:1.6;opacity:.8}.look{stroke:var(--accent);opacity:.6}
.error{stroke:var(--poor);stroke-width:1.4}.bar{stroke:var(--ink);stroke-width:2}
circle.unknown{fill:var(--accent)}circle.good{fill:var(--good)}circle.fair{fill:var(--fair)}circle.poor{fill:var(--poor)}
.gap{fill:var(--poor);opacity:.12}.missing{stroke:var(--poor);stroke-width:2;fill:none}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:500;position:sticky;top:0;background:var(--card)}
th:last-child,td:last-child,.names th:first-child,.names td:first-child{text-align:left}
td.good{color:var(--good)}td.fair{color:var(--fair)}td.poor,td.none{color:var(--poor)}
.names td:first-child{white-space:nowrap}
.scroll{max-height:520px;overflow:auto;padding:0}
figure{margin:0 0 16px}figcaption{font-weight:600;margin-bottom:8px;overflow-wrap:anywhere}
.parts{display:flex;flex-wrap:wrap;gap:10px;align-items:end}.parts span{color:var(--soft);font-size:13px}
.parts img{width:100%;border-radius:5px;display:block}
.key i{display:inline-block;width:10px;height:10px;border-radius:50%;margin:0 5px 0 14px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 18px;margin:0}dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
@media(max-width:480px){main{padding:16px 10px 40px}h1{font-size:21px;overflow-wrap:anywhere}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:6px}th,td{padding:4px 6px}.card.scroll{overflow-x:auto}
table:not(.names *) td:last-child{min-width:22em}.stack .card{overflow-x:auto}.stack svg{min-width:700px}
svg[viewBox^="0 0 720"] text{font-size:22px}}
"""


def write_page(path: Path | str, title: str, sections: Sequence[str]) -> None:
    """Write HTML `sections` as one page in the reports' style."""
    write_text(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n",
    )


@dataclass(frozen=True)
class Figure:
    """Pictures of one thing."""

    caption: str
    parts: Sequence[tuple[str, Image]]
    """Titles and RGB pictures of about the same height, side by side where the page is wide enough."""


def figures(shown: Sequence[Figure]) -> list[str]:
    """As HTML. Titles and captions are text of the page, so that they can be read on a phone."""
    return [_figure(figure) for figure in shown]


def _figure(figure: Figure) -> str:
    parts = []
    for title, image in figure.parts:
        height, width = image.shape[:2]
        flex = f"flex:{width / height:.3f} 1 {round(min(200 * width / height, 480))}px"
        text, source = html.escape(title), data_uri(image)
        parts.append(f'<div style="{flex}"><span>{text}</span><img src="{source}" alt="{text}"/></div>')
    caption = f"<figcaption>{html.escape(figure.caption)}</figcaption>"
    return f'<figure class="card">{caption}<div class="parts">{"".join(parts)}</div></figure>'


def amount(value: float | None, unit: str, digits: int = 1, scale: float = 1.0) -> str:
    """Text such as "3.2 cm"; a dash for None."""
    return "–" if value is None else f"{value * scale:.{digits}f} {unit}".rstrip()


def percent(fraction: float | None) -> str:
    """Text such as "96%"; a dash for None."""
    return "–" if fraction is None else f"{fraction:.0%}"


def tiles(numbers: Sequence[tuple[str, str]]) -> str:
    """Values and their labels as a row of tiles."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>'
            for value, label in numbers
        )
        + "</div>"
    )


def about_card(about: dict[str, str]) -> str:
    """Label and value pairs about a run."""
    rows = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in about.items())
    return f'<div class="card"><dl>{rows}</dl></div>'


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text with headings. The first column has names."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    table = f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"
    return f'<div class="card scroll names">{table}</div>'


def best_median_worst(ranked: Sequence[T]) -> list[tuple[str, T]]:
    """The best, the median and the worst of a list sorted best first, each once, with that word."""
    selected: dict[int, tuple[str, T]] = {}
    for word, index in (("best", 0), ("median", (len(ranked) - 1) // 2), ("worst", len(ranked) - 1)):
        if ranked:
            selected.setdefault(index, (word, ranked[index]))
    return list(selected.values())
