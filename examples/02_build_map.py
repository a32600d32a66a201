"""Build a map file from a point cloud or from posed RGB-D frames, and look at what is in it.

python examples/02_build_map.py                                         # from frames of a synthetic room
python examples/02_build_map.py room.ply room.map --trajectory path.tum # from your own cloud
python examples/02_build_map.py frames/ room.map                        # from your own posed RGB-D folder
"""

from __future__ import annotations

import argparse
from pathlib import Path

import synthetic_room
from diff2i2p_core import build_map


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a map file.")
    parser.add_argument("source", nargs="?", type=Path, help="a cloud (.ply, .pcd, .las, .npz) or a folder")
    parser.add_argument("out", nargs="?", type=Path, help="the map file to write")
    parser.add_argument("--trajectory", type=Path, help="TUM file of camera poses in the cloud's frame")
    parser.add_argument("--up", default="auto", help="the cloud's up axis: x, y, z, -x, -y or -z")
    args = parser.parse_args()
    if args.source is not None and args.out is None:
        parser.error("give the map file to write, too")

    source = args.source or synthetic_room.map_frames()
    out = args.out or synthetic_room.FOLDER / "room.map"
    # Without a trajectory, viewpoints are chosen in the cloud's free space; a folder has its own poses.
    point_map = build_map(source, out, trajectory=args.trajectory, up=args.up, note=print)

    low, high = point_map.cloud.points.min(axis=0), point_map.cloud.points.max(axis=0)
    colors = "with colours" if point_map.cloud.colors is not None else "without colours"
    print(f"{out}: {len(point_map.submaps)} submaps, {len(point_map.cloud)} points {colors}")
    print(f"from {low.round(1)} to {high.round(1)} m, weights {point_map.info.weights_name}")


if __name__ == "__main__":
    main()
