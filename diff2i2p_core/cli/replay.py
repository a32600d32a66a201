"""`diff2i2p replay`: a rosbag through the localizer, measured against the truth."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars
from diff2i2p_core.errors import InputError

if TYPE_CHECKING:
    from diff2i2p_core.evaluation.replay import Replay
    from diff2i2p_core.evaluation.replay_truth import Truth, TruthSource
    from diff2i2p_core.evaluation.requirements import Requirement, Verdict
    from diff2i2p_core.mapping.map_file import PointMap
    from diff2i2p_core.messages.bag_camera import BagCamera


def replay(
    bag: Annotated[
        Path,
        typer.Argument(metavar="BAG", help="Bag folder or file, MCAP or sqlite3.", show_default=False),
    ],
    map_path: Annotated[Path, typer.Option("--map", help="Map file of `diff2i2p map build`.")],
    ground_truth: Annotated[
        Path | None, typer.Option(help="TUM file of true poses in the map's frame.")
    ] = None,
    pose_topic: Annotated[str | None, typer.Option(help="Topic of true poses in the bag.")] = None,
    pose_tf: Annotated[
        str | None, typer.Option(metavar="PARENT:CHILD", help="True poses of the bag's TF, as map:base_link.")
    ] = None,
    truth_frame: Annotated[
        str | None,
        typer.Option(
            help="Frame whose poses a file, or a topic without child frame, holds; default: the camera."
        ),
    ] = None,
    align: Annotated[
        Literal["none", "se3"],
        typer.Option(help="se3 moves the truth onto the estimates, to inspect a truth of another frame."),
    ] = "none",
    image: Annotated[
        str | None, typer.Option(help="Image topic, raw or compressed; default: the only one.")
    ] = None,
    camera_info: Annotated[str | None, typer.Option(help="Default: beside the image.")] = None,
    depth: Annotated[
        str | None, typer.Option(help="Depth topic, registered to the image; for rgbd weights.")
    ] = None,
    odom: Annotated[str | None, typer.Option(help="Odometry's frame in TF, the node's odom_frame.")] = None,
    base: Annotated[
        str | None, typer.Option(help="The robot's frame, the node's base_frame: trajectory.tum is of it.")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="The camera's optical frame; default: the image's frame_id.")
    ] = None,
    rectified: Annotated[
        bool, typer.Option("--rectified", help="The images are already, the node's image_is_rectified.")
    ] = False,
    track: Annotated[
        bool, typer.Option("--track/--no-track", help="Search near the last pose first, or never.")
    ] = True,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Drop images that come while others are worked on, as a node.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Through the ROS 2 node, over DDS, in the bag's time.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="With --live: seconds of the bag in a second.")] = 1.0,
    require: Annotated[
        list[str] | None,
        typer.Option(help="A limit to pass, as recall@0.25m/10deg>=0.5, false==0, ate<=0.1; several times."),
    ] = None,
    weights: options.Weights = None,
    device: options.Device = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Folder for result.json, trajectory.tum, report.html.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Localize a rosbag's images in a map and measure it. Exit status 1: a requirement was not met."""
    from diff2i2p_core.demo.node_process import check_ros
    from diff2i2p_core.evaluation.replay import check_frames
    from diff2i2p_core.evaluation.replay_metrics import aligned, replay_summary
    from diff2i2p_core.evaluation.replay_truth import TruthSource, open_truth
    from diff2i2p_core.evaluation.requirements import Requirement
    from diff2i2p_core.mapping.map_file import load_info
    from diff2i2p_core.messages.bag_camera import BagCamera
    from diff2i2p_core.reports.replay_report import replay_content, replay_headline, write_replay

    source = TruthSource(ground_truth, pose_topic, pose_tf, truth_frame)
    requirements = [Requirement.parse(text) for text in require or []]
    _check(requirements, source, align)
    if live and realtime:
        raise InputError("--realtime: --live is in the bag's time anyway; leave one of them out")
    if rate != 1 and not live:
        raise InputError("--rate: is for --live; without it the bag is worked on as fast as it goes")
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    if live:
        check_ros()
    info, _ = load_info(map_path)
    with progress_bars() as progress:
        progress("reading the bag", 0, None)
        bag_camera = BagCamera(
            bag,
            image=image,
            camera_info=camera_info,
            depth=depth,
            with_depth=info.mode == "rgbd",
            frame=camera,
            rectified=rectified,
            pose_topic=pose_topic,
        )
        check_frames(bag_camera, odom, base)
        truth = open_truth(source, bag_camera)
        run = _Run(bag_camera, map_path, weights, options.check_device(device), odom, base, track, truth)
        count = len(bag_camera.stamps)
        shown = lambda done: progress("localizing", done, count)  # noqa: E731
        if live:
            done, point_map, node = run.live(rate, out, shown)
        else:
            done, point_map, node = run.offline(realtime, shown)
    if align == "se3":
        done = dataclasses.replace(done, results=aligned(done.results))
    summary = replay_summary(done.results, done.begin, done.end, done.dropped)
    verdicts = [requirement.judge(done.results, summary) for requirement in requirements]
    offline = "in the bag's time, late ones dropped" if realtime else "every one"
    about = {
        "bag": f"{bag}, {count} images of {bag_camera.topic}, {done.end - done.begin:.1f} s",
        "map": f"{map_path}, {len(point_map.submaps)} submaps, of {info.source}",
        "weights": f"{info.weights_name} ({info.weights_id[:12]})",
        "images": f"played to the ROS 2 node over DDS, {rate:g} s of the bag a second" if live else offline,
        "search": "near the last pose, moved on by odometry or motion" if track else "each image alone",
        "odometry": odom or "none",
        "truth": "none" if truth is None else f"{truth.name}, alignment {align}",
    }
    content = replay_content(summary, verdicts, about, node)
    if out is not None:
        write_replay(out, f"Replay of {bag.name}", content, done, bag_camera, point_map, base)
    if as_json:
        typer.echo(json.dumps(content))
    else:
        typer.echo(replay_headline(content))
        if verdicts:
            _print_table(verdicts)
        if out is not None:
            typer.echo(f"Results: {out / 'report.html'}, result.json and trajectory.tum beside it")
    if not content["passed"]:
        raise typer.Exit(1)
    if not requirements and not content["localized"]:
        raise typer.Exit(3)


@dataclass(frozen=True)
class _Run:
    """What is replayed, and how."""

    camera: BagCamera
    map_path: Path
    weights: str | None
    device: str
    odom: str | None
    base: str | None
    track: bool
    truth: Truth | None

    def offline(
        self, realtime: bool, progress: Callable[[int], None]
    ) -> tuple[Replay, PointMap, dict[str, Any] | None]:
        from diff2i2p_core.evaluation.replay import replay_bag
        from diff2i2p_core.localization.localizer import Localizer
        from diff2i2p_core.localization.settings import TrackerSettings
        from diff2i2p_core.localization.tracker import Tracker

        localizer = Localizer.open(self.map_path, self.weights, device=self.device)
        tracker = Tracker(localizer, TrackerSettings(use_prior=self.track))
        done = replay_bag(
            self.camera, tracker, self.truth, odom=self.odom, realtime=realtime, progress=progress
        )
        return done, localizer.map, None

    def live(
        self, rate: float, out: Path | None, progress: Callable[[int], None]
    ) -> tuple[Replay, PointMap, dict[str, Any] | None]:
        import tempfile

        from diff2i2p_core.demo.live_replay import LiveSettings, replay_live
        from diff2i2p_core.mapping.map_file import load_map

        settings = LiveSettings(
            self.map_path, self.weights, self.device, self.odom, self.base, self.track, rate
        )
        with tempfile.TemporaryDirectory() as temporary:
            log = Path(temporary) if out is None else out / "log"
            done, node = replay_live(self.camera, settings, log, self.truth, progress)
        return done, load_map(self.map_path), node


def _check(requirements: list[Requirement], source: TruthSource, align: str) -> None:
    if align != "none" and source.is_empty:
        raise InputError("--align: there is no truth to move; give --ground-truth, --pose-topic or --pose-tf")
    for requirement in requirements:
        if requirement.needs_truth and source.is_empty:
            raise InputError(
                f"--require '{requirement.text}': needs the truth; give --ground-truth, --pose-topic or "
                "--pose-tf"
            )
        if requirement.needs_truth and align != "none":
            raise InputError(
                f"--require '{requirement.text}': is judged in the map's frame; leave --align out"
            )


def _print_table(verdicts: list[Verdict]) -> None:
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
