"""Localize every image of a folder of posed frames in the map of another one, and print the errors.

python examples/03_evaluate_folder.py                                   # in a synthetic room
python examples/03_evaluate_folder.py map_frames/ query_frames/         # with your own posed RGB-D folders
"""

from __future__ import annotations

import argparse
from pathlib import Path

import synthetic_room
from diff2i2p_core import Localizer, PosedFrames, build_map
from diff2i2p_core.evaluation.localize_frames import localize_frames
from diff2i2p_core.evaluation.summary import summarize


def main() -> None:
    parser = argparse.ArgumentParser(description="Localize a folder's images and print the errors.")
    parser.add_argument("map_frames", nargs="?", type=Path, help="posed RGB-D folder to build the map from")
    parser.add_argument("query_frames", nargs="?", type=Path, help="posed RGB-D folder to localize")
    parser.add_argument("--out", type=Path, help="the map file to write; default: MAP_FRAMES.map")
    args = parser.parse_args()
    if args.map_frames is not None and args.query_frames is None:
        parser.error("give the folder to localize, too")

    if args.map_frames is not None:
        map_path, queries = args.out or args.map_frames.with_suffix(".map"), args.query_frames
        build_map(args.map_frames, map_path)
    else:
        map_path, queries = synthetic_room.map_file(), synthetic_room.query_frames()

    frames = PosedFrames(queries)
    results = localize_frames(Localizer.open(map_path), frames, frames.numbers)
    for result in results:
        error = result.translation_error_m
        print(f"frame {result.number}: {result.reason if error is None else f'{100 * error:.1f} cm'}")
    summary = summarize(results)
    print(f"{summary.localized} of {summary.queries} localized, {summary.recall_005m_5deg:.0%} well")
    print(f"(within 5 cm and 5 deg), {summary.false_localizations} falsely (over 0.5 m or 10 deg off)")


if __name__ == "__main__":
    main()
