"""`diff2i2p register`: one image against one small cloud, as in the papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.cli import options


def register(
    cloud: Annotated[Path, typer.Option(help="Cloud: ply, pcd, las, laz, npz or npy.")],
    image: options.Image,
    camera: options.CameraText,
    rectified: options.Rectified = False,
    depth: options.Depth = None,
    weights: options.Weights = None,
    device: options.Device = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Find the camera's pose in a cloud ("map" is its frame) from one image. Exit status 3: no pose."""
    from diff2i2p_core.io.clouds import read_cloud
    from diff2i2p_core.io.image_files import read_depth, read_image
    from diff2i2p_core.localization import localizer

    pixels = read_image(image)
    result = localizer.register(
        read_cloud(cloud, options.note),
        pixels,
        options.parse_camera(camera, pixels, rectified=rectified),
        depth=None if depth is None else read_depth(depth),
        weights=weights,
        device=options.check_device(device),
        name=str(cloud),
    )
    options.answer(result, as_json)
