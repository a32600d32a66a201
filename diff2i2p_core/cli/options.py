"""Options shared by several sub-commands, and how a localization is printed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError, located

if TYPE_CHECKING:
    from diff2i2p_core.geometry.camera import Camera
    from diff2i2p_core.io.clouds import Origin
    from diff2i2p_core.localization.result import Localization
    from diff2i2p_core.localization.settings import LocalizerSettings
    from diff2i2p_core.mapping.matchers import Matcher

Weights = Annotated[
    str | None,
    typer.Option(help="Weights: a shipped or fetched name, or a file (.safetensors, released .pth)."),
]
MatcherName = Annotated[
    str,
    typer.Option(
        "--matcher",
        metavar="auto|views|network|depth",
        help="Match images with views rendered from the map, with the network, by their depth alone, "
        "or with all that it allows.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:8786",
        help="Use the workers of this Dask scheduler; they share the files.",
        show_default=False,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Precision of the image branch: float32, bfloat16, float16. Half is faster; poses change by mm."
    ),
]
Image = Annotated[Path, typer.Option(help="The image, PNG or JPEG.")]
CameraText = Annotated[
    str,
    typer.Option(
        "--camera",
        help="Calibration YAML; without distortion also a 3x3 matrix (.txt) or fx,fy,cx,cy in pixels.",
    ),
]
Rectified = Annotated[
    bool, typer.Option("--rectified", help="The image is already rectified: use P of the calibration.")
]
Depth = Annotated[
    Path | None,
    typer.Option(help="Depth registered to the image, 16-bit PNG in mm: finds, refines and confirms poses."),
]
OriginText = Annotated[
    str | None,
    typer.Option(
        "--origin",
        metavar="X,Y,Z|auto",
        help="Subtract this from a georeferenced cloud (UTM, ...); auto: round coordinates near its middle.",
    ),
]
Prior = Annotated[
    str | None,
    typer.Option(
        metavar="POSE",
        help="Search near this map_from_camera: x,y,z,qx,qy,qz,qw, a 4x4 matrix as 16 numbers, or its file.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@contextmanager
def named(**options: str) -> Iterator[None]:
    """If an InputError names one of these arguments in backquotes, replace it by the option."""
    try:
        yield
    except InputError as error:
        text = str(error)
        for argument, option in options.items():
            text = text.replace(f"`{argument}`", option)
        raise InputError(text) from None


def parse_camera(text: str, image: NDArray[np.uint8], *, rectified: bool = False) -> Camera:
    """The camera of `--camera`. Numbers and a matrix get the image's size; a YAML file must match it."""
    from diff2i2p_core.geometry.calibration import Calibration
    from diff2i2p_core.geometry.camera import Camera
    from diff2i2p_core.io.rgbd_folder import read_matrix

    size = image.shape[1], image.shape[0]
    if text.count(",") == 3 and not os.path.exists(text):  # noqa: PTH110  # which takes any length
        return Camera.from_text(text, *size)
    if Path(text).suffix == ".txt":
        matrix = read_matrix(Path(text), (3, 3), "give an existing file", "give a camera matrix")
        with located(text):
            return Camera.of(Calibration(matrix), size)
    camera = Camera.from_file(text, size, rectified=rectified)
    camera.check_size(image.shape, f"image, with the camera {text}")
    return camera


def matcher(name: str) -> Matcher:
    """The value of `--matcher`."""
    from diff2i2p_core.mapping.matchers import checked_matcher

    with named(matcher="--matcher"):
        return checked_matcher(name)


def parse_pose(text: str, option: str) -> NDArray[np.float64]:
    """The transform (4, 4) from numbers, see `geometry.pose_text`, or from a file with its matrix."""
    from diff2i2p_core.geometry.pose_text import FORMS, pose_from_text
    from diff2i2p_core.geometry.se3 import is_rigid
    from diff2i2p_core.io.rgbd_folder import read_matrix

    if "," in text:
        return pose_from_text(text, option)
    expected = f"{FORMS[7]}, {FORMS[16]}, or a file with one"
    matrix = read_matrix(Path(text), (4, 4), f"{option} takes {expected}", "give a rigid 4x4 matrix")
    if not is_rigid(matrix):
        raise InputError(f"{option} {text}: not a finite rigid transform; give one, or {expected}")
    return matrix


def parse_origin(text: str | None) -> Origin:
    """The value of `--origin`."""
    if text is None or text == "auto":
        return text  # type: ignore[return-value]  # mypy does not narrow str
    try:
        values = np.array([float(word) for word in text.split(",")])
        if values.shape != (3,) or not np.isfinite(values).all():
            raise ValueError
    except ValueError:
        raise InputError(f"--origin '{text}': expected x,y,z in metres, or auto") from None
    return values


def parse_band(text: str) -> tuple[float, float]:
    """The value of `--band`."""
    try:
        low, high = (float(word) for word in text.split(","))
        if not -100 < low < high < 100:
            raise ValueError
    except ValueError:
        raise InputError(f"--band '{text}': expected LOW,HIGH in metres, the lower height first") from None
    return low, high


def localizer_settings(precision: str) -> LocalizerSettings:
    """The defaults with `--precision`."""
    from diff2i2p_core.localization.settings import PRECISIONS, LocalizerSettings

    for known in PRECISIONS:
        if precision == known:
            return LocalizerSettings(precision=known)
    raise InputError(f"--precision '{precision}': unknown; use one of {', '.join(PRECISIONS)}")


def check_device(device: str) -> str:
    """Returns `device` if torch can use it here."""
    from diff2i2p_core.weights.device import checked_device

    try:
        return checked_device(device)
    except InputError as error:
        raise InputError(f"--{error}") from None


def answer(result: Localization, as_json: bool, origin: Sequence[float] | None = None) -> None:
    """Print a localization in a map with an origin, if it has one. Exit with status 3 if there is no pose."""
    for warning in result.warnings:
        note(f"warning: {warning}")
    if as_json:
        typer.echo(json.dumps({**result.as_dict(), "origin": None if origin is None else list(origin)}))
    elif result.localized:
        typer.echo(_in_words(result, origin))
    else:
        typer.echo(f"not localized: {result.reason}")
    if not result.localized:
        raise typer.Exit(3)


def _in_words(result: Localization, origin: Sequence[float] | None) -> str:
    from diff2i2p_core.geometry.se3 import to_quaternion

    assert result.map_from_camera is not None and result.covariance is not None
    sigma = np.sqrt(np.diag(result.covariance))
    position = ", ".join(f"{value:.3f}" for value in result.map_from_camera[:3, 3])
    quaternion = ", ".join(f"{value:.4f}" for value in to_quaternion(result.map_from_camera))
    agreement = f"\n  appearance   agreement with the map {result.agreement:.2f}" if result.agreement else ""
    if result.depth_agreement:
        agreement += f"\n  depth        {result.depth_agreement:.0%} agrees with the map"
    if origin is not None:
        there = ", ".join(f"{value:.3f}" for value in np.add(result.map_from_camera[:3, 3], origin))
        position += f" m from the origin: {there}"
    latency = ", ".join(f"{name} {value:.0f} ms" for name, value in result.latency_ms.items())
    return (
        f"localized {_where(result)}\n"
        f"  position     {position} m (1 sigma {np.linalg.norm(sigma[:3]) * 100:.1f} cm)\n"
        f"  quaternion   {quaternion} (x y z w; 1 sigma {np.degrees(np.linalg.norm(sigma[3:])):.2f} deg)\n"
        f"  inliers      {result.num_inliers} of {result.num_correspondences} ({result.inlier_ratio:.0%}), "
        f"reprojection error {result.reprojection_error_px:.1f} px{agreement}\n"
        f"  latency      {latency}"
    )


def _where(result: Localization) -> str:
    if result.matcher == "depth":
        return "by depth"
    if result.submap < 0:
        return "near the prior"
    return f"in {'view' if result.matcher == 'views' else 'submap'} {result.submap}"


def note(line: str) -> None:
    """Print a line on stderr, beside the result."""
    typer.echo(line, err=True)
