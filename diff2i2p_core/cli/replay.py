"""`diff2i2p replay`: localizes the images of a rosbag, and measures the poses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars

if TYPE_CHECKING:
    from diff2i2p_core.evaluation.requirements import Verdict


def replay(
    bag: Annotated[
        Path,
        typer.Argument(metavar="BAG", help="Bag folder or file, MCAP or sqlite3.", show_default=False),
    ],
    map_path: Annotated[Path, typer.Option("--map", help="Map file made by `diff2i2p map build`.")],
    ground_truth: Annotated[
        Path | None, typer.Option(help="TUM file of true poses in the map's frame.")
    ] = None,
    pose_topic: Annotated[str | None, typer.Option(help="Topic of true poses in the bag.")] = None,
    pose_tf: Annotated[
        str | None,
        typer.Option(metavar="PARENT:CHILD", help="True poses from the bag's TF, such as map:base_link."),
    ] = None,
    truth_frame: Annotated[
        str | None,
        typer.Option(
            help="Frame of the poses in a file, or in a topic without child frame; default: the camera."
        ),
    ] = None,
    align: Annotated[
        Literal["none", "se3"],
        typer.Option(help="se3: align the truth with the estimates first, for a truth in another frame."),
    ] = "none",
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="Image topic, raw or compressed; default: the only one. Repeated: cameras on one body."
        ),
    ] = None,
    sync_tolerance: Annotated[
        float,
        typer.Option(min=0, help="With several cameras: seconds between images that give one joint answer."),
    ] = 0.02,
    camera_info: Annotated[
        str | None, typer.Option(help="Calibration topic; default: beside the image.")
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(help="Depth topic, registered to the image: finds, refines and confirms poses."),
    ] = None,
    odom: Annotated[str | None, typer.Option(help="Odometry frame in TF (the node's odom_frame).")] = None,
    base: Annotated[
        str | None, typer.Option(help="The robot's frame (the node's base_frame), used for trajectory.tum.")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="The camera's optical frame; default: the image's frame_id.")
    ] = None,
    rectified: Annotated[
        bool,
        typer.Option("--rectified", help="The images are already rectified (the node's image_is_rectified)."),
    ] = False,
    track: Annotated[
        bool,
        typer.Option(
            "--track/--no-track", help="Search near the last pose first, or always in the whole map."
        ),
    ] = True,
    realtime: Annotated[
        bool,
        typer.Option("--realtime", help="Drop images that arrive while others are processed, as in a node."),
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Use the ROS 2 node, over DDS, in the bag's time.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="With --live: seconds of the bag per second.")] = 1.0,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit to meet, such as recall@0.25m/10deg>=0.5, false==0, ate<=0.1; may be repeated."
        ),
    ] = None,
    matcher: options.MatcherName = "auto",
    weights: options.Weights = None,
    device: options.Device = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Folder for result.json, trajectory.tum, report.html.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Localize a rosbag's images in a map, and measure the poses. Exit status 1: a requirement was missed."""
    from diff2i2p_core.demo import replay_run
    from diff2i2p_core.evaluation.replay_settings import ReplaySettings
    from diff2i2p_core.evaluation.replay_truth import TruthSource
    from diff2i2p_core.reports.replay_report import REPORT, replay_headline

    with options.named(
        image="--image",
        camera_info="--camera-info",
        depth="--depth",
        camera="--camera",
        truth="--ground-truth, --pose-topic or --pose-tf",
        align="--align",
        requirement="--require",
        realtime="--realtime",
        live="--live",
        rate="--rate",
    ):
        settings = ReplaySettings(
            image_topic=image,
            sync_tolerance=sync_tolerance,
            camera_info_topic=camera_info,
            depth_topic=depth,
            camera_frame=camera,
            odom_frame=odom,
            base_frame=base,
            rectified=rectified,
            truth=TruthSource(ground_truth, pose_topic, pose_tf, truth_frame),
            align=align,
            track=track,
            realtime=realtime,
            live=live,
            rate=rate,
            requirements=tuple(require or ()),
            matcher=options.matcher(matcher),
            weights=weights,
            device=options.check_device(device),
        )
    with progress_bars() as progress:
        result = replay_run.replay(bag, map_path, settings, out=out, progress=progress)
    for warning in result.warnings:
        options.note(f"warning: {warning}")
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
    else:
        typer.echo(replay_headline(result.summary))
        if result.verdicts:
            _print_table(result.verdicts)
        if out is not None:
            typer.echo(f"Results: {out / REPORT}, with result.json and trajectory.tum beside it")
    if not result.passed:
        raise typer.Exit(1)
    if not require and not result.summary.localized:
        raise typer.Exit(3)


def _print_table(verdicts: Sequence[Verdict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("requirement", "value", "result")
    for verdict in verdicts:
        value = "none" if verdict.value is None else f"{verdict.value:.4g}"
        table.add_row(
            verdict.requirement,
            value,
            "pass" if verdict.passed else "FAIL",
            style="green" if verdict.passed else "red",
        )
    Console(highlight=False).print(table)
