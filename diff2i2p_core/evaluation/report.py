"""Self-contained HTML pages: their parts, and the page about a localization run."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.evaluation.plots import GRADES, cumulative_curve, data_uri, describe, grade, top_view
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.files import write_text

Image = NDArray[np.uint8]
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
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:10px;margin:18px 0}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px}
.tile b{display:block;font-size:23px;line-height:1.25}.tile span{color:var(--soft);font-size:13px}
.stack{display:grid;gap:10px;margin-bottom:10px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:10px}
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
figure{margin:0 0 16px}figure img{width:100%;border-radius:8px;display:block}
.key i{display:inline-block;width:10px;height:10px;border-radius:50%;margin:0 5px 0 14px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 18px;margin:0}dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
"""


def write_report(
    path: Path | str,
    title: str,
    about: dict[str, str],
    results: Sequence[QueryResult],
    summary: dict[str, Any],
    map_points: NDArray[np.float32],
    panels: Sequence[tuple[str, Image]] = (),
) -> None:
    """Write the report of `results` (at least one) with their `summary` (of `summarize`).

    `about` are label and value pairs about the run; `panels` captions and RGB pictures of single frames.
    """
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(headline(summary))}</p>",
        _tiles(summary),
        "<h2>Seen from above</h2>",
        "<p>Line: the true path, ticks: viewing directions. Dots: estimated poses"
        + color_key()
        + "; crosses: images that were not localized. Grey: the map.</p>",
        f'<div class="card">{top_view(results, map_points)}</div>',
        "<h2>Errors</h2><p>Share of all query images with at most this error; images without a pose count as "
        "never reached.</p>",
        _curves(results),
    ]
    if panels:
        sections.append(
            "<h2>Map against image</h2><p>Where the pose is right, the coloured map points lie on the "
            "edges of the same things in the image, and the map seen from the pose looks like it.</p>"
        )
        sections += figures(panels)
    sections += ["<h2>Every frame</h2>", frame_table(results), "<h2>The run</h2>", about_card(about)]
    write_page(path, title, sections)


def write_page(path: Path | str, title: str, sections: Sequence[str]) -> None:
    """Write HTML `sections` as one page in the reports' style."""
    write_text(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n",
    )


def figures(panels: Sequence[tuple[str, Image]]) -> list[str]:
    """Captions and RGB pictures as HTML."""
    return [
        f'<figure><img src="{data_uri(image)}" alt="{html.escape(caption)}"/></figure>'
        for caption, image in panels
    ]


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
    """Rows of texts, the first column a name, under their headings."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    table = f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"
    return f'<div class="card scroll names">{table}</div>'


def best_median_worst(ranked: Sequence[T]) -> list[tuple[str, T]]:
    """Of a list, best first: the best, the median and the worst, each once, with that word."""
    chosen: dict[int, tuple[str, T]] = {}
    for word, index in (("best", 0), ("median", (len(ranked) - 1) // 2), ("worst", len(ranked) - 1)):
        if ranked:
            chosen.setdefault(index, (word, ranked[index]))
    return list(chosen.values())


def headline(summary: dict[str, Any]) -> str:
    """The result in one sentence."""
    if not summary["localized"]:
        return f"None of {summary['queries']} images was localized."
    return (
        f"{summary['localized']} of {summary['queries']} images localized, median error "
        f"{100 * summary['median_translation_m']:.1f} cm and {summary['median_rotation_deg']:.2f} deg; "
        f"{summary['recall_010m_5deg']:.0%} of all within 10 cm and 5 deg, "
        f"{summary['false_localizations']} false."
    )


def pick_frames(results: Sequence[QueryResult]) -> list[tuple[str, QueryResult]]:
    """The best, the median and the worst localized frame, each once, with that word."""
    localized = [r for r in results if r.translation_error_m is not None]
    return best_median_worst(sorted(localized, key=lambda r: r.translation_error_m or 0.0))


def frame_caption(word: str, result: QueryResult) -> str:
    return f"{word} of the localized: {describe(result)}"


def _tiles(summary: dict[str, Any]) -> str:
    def number(value: float | None, scale: float, unit: str, digits: int = 1) -> str:
        return "–" if value is None else f"{value * scale:.{digits}f} {unit}"

    latency = summary["latency_ms"]
    shares = summary["covariance"]
    covariance = (
        [] if shares is None else [_sigma_tile(name, shares[name]) for name in ("position", "rotation")]
    )
    return tiles(
        [
            (f"{summary['localized']} / {summary['queries']}", "images localized"),
            (number(summary["median_translation_m"], 100, "cm"), "median position error"),
            (number(summary["median_rotation_deg"], 1, "°", 2), "median rotation error"),
            (f"{summary['recall_005m_5deg']:.0%}", "within 5 cm, 5°"),
            (f"{summary['recall_010m_5deg']:.0%}", "within 10 cm, 5°"),
            (f"{summary['recall_025m_10deg']:.0%}", "within 25 cm, 10°"),
            (str(summary["false_localizations"]), "false (over 0.5 m or 10°)"),
            (
                number(latency["median"], 1, "ms", 0),
                f"median latency; p95 {number(latency['p95'], 1, 'ms', 0)}",
            ),
            *covariance,
        ]
    )


def _sigma_tile(name: str, shares: dict[str, float]) -> tuple[str, str]:
    found = f"{shares['within_1_sigma']:.0%}, {shares['within_2_sigma']:.0%}"
    return found, f"of the {name} errors within 1 and 2 reported sigma (honest: 68 %, 95 %)"


def color_key() -> str:
    """The grades of dots as a legend."""
    dots = "".join(f'<i style="background:var(--{name})"></i>{words}' for name, words, *_ in GRADES)
    return f' <span class="key">{dots}</span>'


def _curves(results: Sequence[QueryResult]) -> str:
    metres = [None if (e := r.translation_error_m) is None else 100 * e for r in results]
    degrees = [r.rotation_error_deg for r in results]
    curves = (
        cumulative_curve(metres, 50, "cm", "Position error", (5, 10, 25)),
        cumulative_curve(degrees, 15, "deg", "Rotation error", (5, 10)),
    )
    return '<div class="plots">' + "".join(f'<div class="card">{curve}</div>' for curve in curves) + "</div>"


def frame_table(results: Sequence[QueryResult]) -> str:
    """A row per image."""

    def cell(value: float | None, digits: int, scale: float = 1.0) -> str:
        return "–" if value is None else f"{value * scale:.{digits}f}"

    rows = []
    for r in results:
        values = (
            cell(r.translation_error_m, 1, 100),
            cell(r.rotation_error_deg, 2),
            cell(r.num_inliers, 0),
            cell(r.inlier_ratio, 0, 100),
            cell(r.latency_ms, 0),
        )
        words = "localized" if r.map_from_camera is not None else r.reason or "no answer"
        cells = "".join(f"<td>{value}</td>" for value in values)
        rows.append(f'<tr><td>{r.number}</td>{cells}<td class="{grade(r)}">{html.escape(words)}</td></tr>')
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "frame",
            "position error, cm",
            "rotation error, °",
            "inliers",
            "inlier ratio, %",
            "latency, ms",
        )
    )
    table = f"<table><thead><tr>{head}<th>result</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="card scroll">{table}</div>'
