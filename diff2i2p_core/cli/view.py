"""`diff2i2p view`: a map in a browser, with an image that is localized in it, or with a replay."""

from __future__ import annotations

import threading
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.errors import InputError

if TYPE_CHECKING:
    from viser import ViserServer

    from diff2i2p_core.mapping.matchers import Matcher
    from diff2i2p_core.reports.map_image import LocalizedImage


def view(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Map file.", show_default=False)],
    image: Annotated[Path | None, typer.Option(help="Localize this image, PNG or JPEG, and show it.")] = None,
    camera: Annotated[
        str | None, typer.Option(help="The image's camera: calibration YAML, matrix or fx,fy,cx,cy.")
    ] = None,
    rectified: options.Rectified = False,
    replay: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Folder that `diff2i2p replay --out` wrote.")
    ] = None,
    matcher: options.MatcherName = "auto",
    device: options.Device = "cpu",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Show the map, its views, an image's pose with its matches, or a replay's poses. Ctrl-C ends it.

    Matches are lines: green if they agree with the pose. The panel says what is drawn.
    """
    from diff2i2p_core.mapping.map_file import load_map
    from diff2i2p_core.reports.map_image import show_localized
    from diff2i2p_core.reports.map_points import show_map
    from diff2i2p_core.reports.map_replay import RecordedReplay, show_replay

    if (image is None) != (camera is None):
        raise InputError("--image and --camera: give both, or none")
    if image is not None and replay is not None:
        raise InputError("--image and --replay: give one of them")
    point_map = load_map(map_path)
    recorded = None if replay is None else RecordedReplay.read(replay)
    seen = None
    if image is not None and camera is not None:
        seen = _localized(map_path, image, camera, rectified, options.matcher(matcher), device)
    server = start_server(host, port)
    try:
        show_map(server, point_map, map_path.name)
        if recorded is not None:
            show_replay(server, recorded)
        if seen is not None:
            show_localized(server, seen, point_map.viewpoints)
        typer.echo(f"http://{host}:{server.get_port()} shows {map_path}; Ctrl-C ends it")
        wait()
    finally:
        with redirect_stdout(StringIO()):
            server.stop()


def start_server(host: str, port: int) -> ViserServer:
    try:
        import viser
    except ModuleNotFoundError:
        raise InputError("view needs viser; install the extra 'viz' of diff2i2p_core") from None
    with redirect_stdout(StringIO()):  # our own line has the address
        return viser.ViserServer(host, port, label="diff2i2p", verbose=False)


def wait() -> None:
    """Until Ctrl-C."""
    threading.Event().wait()


def _localized(
    map_path: Path, image: Path, camera: str, rectified: bool, matcher: Matcher, device: str
) -> LocalizedImage:
    from diff2i2p_core.io.image_files import read_image
    from diff2i2p_core.localization.localizer import Localizer
    from diff2i2p_core.reports.map_image import LocalizedImage

    pixels = read_image(image)
    lens = options.parse_camera(camera, pixels, rectified=rectified)
    localizer = Localizer.open(map_path, matcher=matcher, device=options.check_device(device))
    seen = LocalizedImage.of(localizer, pixels, lens, image.name)
    if seen.answer.localized:
        options.note(f"localized with {seen.answer.num_inliers} inliers")
    else:
        options.note(f"not localized: {seen.answer.reason}")
    return seen
