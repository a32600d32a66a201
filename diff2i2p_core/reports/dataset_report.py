"""The HTML report of a prepared set: counts, overlaps, problems, and pictures of pairs."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from diff2i2p_core.datasets.check import Check
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.pairs.benchmark_pairs import read_cloud, read_frame
from diff2i2p_core.pairs.metadata import Entry
from diff2i2p_core.reports.overlay import PANEL_WIDTH, depth_picture, depth_span, overlay, shrunk
from diff2i2p_core.reports.page import Figure, about_card, figures, plain_table, tiles, write_page
from diff2i2p_core.reports.plots import histogram


def write_dataset_report(path: Path, root: Path, check: Check, pairs_a_subset: int = 4) -> None:
    """Write the report of a checked set with readable files."""
    sections = [
        f"<h1>{html.escape(str(root.resolve().name))}</h1>",
        f"<p>{_verdict(check)}</p>",
        tiles(
            [(f"{len(entries):,}", f"{subset} pairs") for subset, entries in check.subsets.items()]
            + [(str(len(_scenes(check))), "scenes")]
        ),
    ]
    if check.problems:
        lines = "".join(f"<li>{html.escape(problem)}</li>" for problem in check.problems)
        sections.append(f'<h2>Problems</h2><div class="card"><ul>{lines}</ul></div>')
    sections += ["<h2>Scenes</h2>", _scene_table(check), "<h2>Overlaps</h2>", _histograms(check)]
    for subset, entries in check.subsets.items():
        sections += [
            f"<h2>Pairs of {subset}</h2>",
            "<p>From the smallest to the largest overlap. If the pose is right, the cloud's points line up "
            "with the edges of the objects in the image and have the colours of its depth.</p>",
            *figures([_figure(root, check, entry) for entry in _spread(entries, pairs_a_subset)]),
        ]
    if check.dataset:
        source = check.dataset.source
        about = {"source": source["kind"], **{k: str(v) for k, v in source["settings"].items()}}
        sections += ["<h2>Made from</h2>", about_card(about)]
    write_page(path, f"Prepared set {root.resolve().name}", sections)


def _verdict(check: Check) -> str:
    if check.problems:
        return f"{len(check.problems)} problems were found."
    worst = max((abs(stored - recomputed) for stored, recomputed in check.overlaps), default=0.0)
    return (
        f"No problems were found. The overlaps of {len(check.overlaps)} pairs were recomputed; they differ "
        f"by at most {worst:.3f}."
    )


def _scenes(check: Check) -> list[str]:
    return sorted({entry.scene for entries in check.subsets.values() for entry in entries})


def _scene_table(check: Check) -> str:
    rows = []
    for scene in _scenes(check):
        pairs = {
            subset: [e for e in entries if e.scene == scene] for subset, entries in check.subsets.items()
        }
        every = [entry for entries in pairs.values() for entry in entries]
        rows.append(
            [
                scene,
                *(str(len(entries)) for entries in pairs.values()),
                str(len({entry.image_file for entry in every})),
                str(len({entry.cloud_file for entry in every})),
                f"{np.mean([entry.overlap for entry in every]):.0%}",
            ]
        )
    head = ["scene", *(f"{subset} pairs" for subset in check.subsets), "images", "clouds", "mean overlap"]
    return plain_table(head, rows)


def _histograms(check: Check) -> str:
    plots = (
        histogram([entry.overlap for entry in entries], f"Overlap, {subset}", 0.5)
        for subset, entries in check.subsets.items()
    )
    return '<div class="plots">' + "".join(f'<div class="card">{plot}</div>' for plot in plots) + "</div>"


def _spread(entries: Sequence[Entry], count: int) -> list[Entry]:
    """Entries evenly spread by overlap, including the smallest and the largest."""
    ranked = sorted(entries, key=lambda entry: entry.overlap)
    indices = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int))
    return [ranked[index] for index in indices]


def _figure(root: Path, check: Check, entry: Entry) -> Figure:
    """Image | depth | cloud over the image."""
    image, depth, camera = read_frame(root, entry)
    picture, small, _ = shrunk(image, camera, PANEL_WIDTH)
    size = (small.width, small.height)
    depth = np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT))
    voxel = float(check.dataset.source["settings"]["voxel"]) if check.dataset else 0.025
    cloud = read_cloud(root, entry)
    drawn = overlay(picture, small, invert(entry.camera_from_cloud), cloud, voxel)
    caption = f"{entry.name}: overlap {entry.overlap:.0%}, {len(cloud)} points"
    parts = [
        ("image", picture),
        ("depth", depth_picture(depth, depth > 0, *depth_span(depth[depth > 0]))),
        ("cloud over the image, coloured by depth", drawn),
    ]
    return Figure(caption, parts)
