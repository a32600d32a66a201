"""`diff2i2p register`: one image against one small cloud, as in the papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.cli import options


def register(
    cloud: Annotated[Path, typer.Option(help="Cloud file, as for `map build`.")],
    image: options.Image,
    camera: options.CameraText,
    rectified: options.Rectified = False,
    depth: options.Depth = None,
    prior: options.Prior = None,
    weights: options.Weights = None,
    device: options.Device = "cpu",
    origin: options.OriginText = None,
    as_json: options.AsJson = False,
) -> None:
    """Find the camera's pose in a cloud ("map" is its frame) from one image. Exit status 3: no pose.

    With --prior, a cloud with colours or intensity is rendered from there, also a large one, such as a lidar
    scan. Without, the network matches a small cloud as a whole.
    """
    from diff2i2p_core.errors import InputError
    from diff2i2p_core.io.clouds import read_cloud_at
    from diff2i2p_core.io.image_files import read_depth, read_image
    from diff2i2p_core.localization.register import register as register_image

    pixels = read_image(image)
    near = None if prior is None else options.parse_pose(prior, "--prior")
    if near is not None and weights is not None:
        raise InputError("--weights: with --prior, no network is used; leave out one of them")
    with options.named(origin="--origin"):
        points, subtracted, _ = read_cloud_at(cloud, options.parse_origin(origin), options.note)
    if near is not None and subtracted is not None:
        near[:3, 3] -= subtracted
    result = register_image(
        points,
        pixels,
        options.parse_camera(camera, pixels, rectified=rectified),
        depth=None if depth is None else read_depth(depth),
        prior=near,
        weights=weights,
        device=options.check_device(device),
        name=str(cloud),
    )
    options.answer(result, as_json, None if subtracted is None else subtracted.tolist())
