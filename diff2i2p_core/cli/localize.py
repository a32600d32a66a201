"""`diff2i2p localize`: one image in a map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.cli import options


def localize(
    map_path: Annotated[Path, typer.Option("--map", help="Map file made by `diff2i2p map build`.")],
    image: options.Image,
    camera: options.CameraText,
    rectified: options.Rectified = False,
    depth: options.Depth = None,
    prior: options.Prior = None,
    matcher: options.MatcherName = "auto",
    weights: options.Weights = None,
    device: options.Device = "cpu",
    precision: options.Precision = "float32",
    as_json: options.AsJson = False,
) -> None:
    """Find the camera's pose in a map from one image. Exit status 3: not localized."""
    from diff2i2p_core.io.image_files import read_depth, read_image
    from diff2i2p_core.localization.localizer import Localizer

    pixels = read_image(image)
    model_camera = options.parse_camera(camera, pixels, rectified=rectified)
    near = None if prior is None else options.parse_pose(prior, "--prior")
    metres = None if depth is None else read_depth(depth)
    settings = options.localizer_settings(precision)
    localizer = Localizer.open(
        map_path,
        weights,
        matcher=options.matcher(matcher),
        device=options.check_device(device),
        settings=settings,
    )
    options.answer(
        localizer.localize(pixels, model_camera, prior=near, depth=metres), as_json, localizer.map.info.origin
    )
