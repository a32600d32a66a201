"""Localize one image in a map file.

python examples/01_localize.py                                          # in a synthetic room
python examples/01_localize.py room.map photo.jpg camera_info.yaml      # with your own files
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import synthetic_room
from diff2i2p_core import Camera, Localizer


def main() -> None:
    parser = argparse.ArgumentParser(description="Localize one image in a map file.")
    parser.add_argument("map", nargs="?", type=Path, help="made by 02_build_map.py or `diff2i2p map build`")
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("camera", nargs="?", type=Path, help="camera_info YAML of the image")
    args = parser.parse_args()
    if args.map is not None and args.camera is None:
        parser.error("give a map, an image and its camera_info")

    if args.map is not None:
        map_path, image_path, camera = args.map, args.image, Camera.from_file(args.camera)
    else:
        map_path, camera = synthetic_room.map_file(), synthetic_room.CAMERA
        image_path = synthetic_room.query_frames() / "frame-000000.color.jpg"

    image = np.asarray(Image.open(image_path).convert("RGB"))
    localizer = Localizer.open(map_path)
    answer = localizer.localize(image, camera)

    if answer.map_from_camera is None or answer.covariance is None:
        raise SystemExit(f"{image_path.name}: not localized: {answer.reason}")
    position, sigma = answer.map_from_camera[:3, 3], np.sqrt(np.diag(answer.covariance)[:3])
    print(f"{image_path.name}: camera at {position.round(3)} m, 1 sigma {sigma.round(3)} m")
    print(f"{answer.num_inliers} inliers, {sum(answer.latency_ms.values()):.0f} ms")


if __name__ == "__main__":
    main()
