"""`diff2i2p view`: a map in a browser, with an image that is localized in it, or with a replay."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.errors import InputError

if TYPE_CHECKING:
    from viser import ViserServer

    from diff2i2p_core.mapping.matchers import Matcher


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

    Matches are lines: green if they agree with the pose. The ellipsoid is three standard deviations of the
    position.
    """
    from diff2i2p_core.io.trajectories import read_trajectory
    from diff2i2p_core.mapping.map_file import load_map
    from diff2i2p_core.reports.map_scene import show_map, show_replay
    from diff2i2p_core.reports.replay_report import TRAJECTORY

    if (image is None) != (camera is None):
        raise InputError("--image and --camera: give both, or none")
    if image is not None and replay is not None:
        raise InputError("--image and --replay: give one of them")
    point_map = load_map(map_path)
    trajectory = None if replay is None else read_trajectory(replay / TRAJECTORY)
    if trajectory is not None and not trajectory[0]:
        raise InputError(f"{replay}: no image of the replay was localized; there is nothing to show")
    server = start_server(host, port)
    try:
        show_map(server, point_map)
        if trajectory is not None:
            show_replay(server, *trajectory)
        if image is not None and camera is not None:
            _localize(server, map_path, image, camera, rectified, options.matcher(matcher), device)
        typer.echo(f"http://{host}:{server.get_port()} shows {map_path}; Ctrl-C ends it")
        wait()
    finally:
        server.stop()


def start_server(host: str, port: int) -> ViserServer:
    try:
        import viser
    except ModuleNotFoundError:
        raise InputError("view needs viser; install the extra 'viz' of diff2i2p_core") from None
    return viser.ViserServer(host, port, label="diff2i2p", verbose=False)


def wait() -> None:
    """Until Ctrl-C."""
    threading.Event().wait()


def _localize(
    server: ViserServer,
    map_path: Path,
    image: Path,
    camera: str,
    rectified: bool,
    matcher: Matcher,
    device: str,
) -> None:
    """Localize the image, and show its camera, matches and uncertainty; or say why there is no pose."""
    from diff2i2p_core.io.image_files import read_image
    from diff2i2p_core.localization.localizer import Localizer
    from diff2i2p_core.localization.recorded import Recorded, matches_of
    from diff2i2p_core.reports.map_scene import show_camera, show_covariance, show_matches

    pixels = read_image(image)
    lens = options.parse_camera(camera, pixels, rectified=rectified)
    opened = Localizer.open(map_path, matcher=matcher, device=options.check_device(device))
    recorded = [Recorded(proposer) for proposer in opened.proposers]
    localizer = Localizer(opened.map, recorded, opened.settings)
    answer = localizer.localize(pixels, lens)
    if answer.map_from_camera is None or answer.covariance is None:
        options.note(f"not localized: {answer.reason}")
        return
    pinhole = lens.undistorted()
    _, points, right = matches_of(answer, recorded, pinhole, localizer.settings)
    show_camera(server, "/camera", answer.map_from_camera, pinhole, lens.rectify(pixels))
    show_matches(server, answer.map_from_camera, points, right)
    show_covariance(server, answer.map_from_camera, answer.covariance)
    options.note(f"{right.sum()} of {len(right)} matches agree with the pose")
