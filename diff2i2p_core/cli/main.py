"""Entry point of `diff2i2p`: registers the sub-commands and turns bad input into one line and status 2."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Any

import typer

from diff2i2p_core.cli import config, evaluate, geometry, prepare, prior, weights
from diff2i2p_core.cli import map as map_command
from diff2i2p_core.cli.ablate import ablate
from diff2i2p_core.cli.bench import bench
from diff2i2p_core.cli.demo import demo
from diff2i2p_core.cli.doctor import doctor
from diff2i2p_core.cli.eval import eval_
from diff2i2p_core.cli.localize import localize
from diff2i2p_core.cli.register import register
from diff2i2p_core.cli.replay import replay
from diff2i2p_core.cli.test import test
from diff2i2p_core.cli.train import train
from diff2i2p_core.cli.view import view
from diff2i2p_core.errors import InputError

app = typer.Typer(
    name="diff2i2p",
    help="Find a camera's 6-DoF pose in a 3D point cloud map from one image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo)
app.add_typer(map_command.app, name="map")
app.add_typer(evaluate.app, name="evaluate")
app.command("localize")(localize)
app.command("register")(register)
app.command("replay")(replay)
app.command("view")(view)
app.add_typer(prepare.app, name="prepare")
app.command("train")(train)
app.add_typer(geometry.app, name="geometry")
app.command("ablate")(ablate)
app.add_typer(prior.app, name="prior")
app.command("test")(test)
app.command("eval")(eval_)
app.command("bench")(bench)
app.add_typer(config.app, name="config")
app.add_typer(weights.app, name="weights")
app.command("doctor")(doctor)


UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Where it is depends on the versions of typer and click."""


def run() -> None:
    """Console entry point. Exit status: 0 done, 1 requirement missed, 2 bad arguments or input, 3 no pose."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the names of files may be anything
    try:
        sys.exit(app(prog_name="diff2i2p", standalone_mode=False))
    except InputError as error:
        print(f"diff2i2p: {error}", file=sys.stderr)
        sys.exit(2)
    except UsageError as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # which has shown the help
            print(f"diff2i2p: {_in_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except UnicodeEncodeError as error:
        words = "is not UTF-8; rename the file, or its folder"
        print(f"diff2i2p: {error.object!r} {words}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        words = f"{error.filename}: {error.strerror}; check the path and its permissions"
        print(f"diff2i2p: {words}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _in_one_line(error: Any) -> str:
    """A UsageError in one line: what is wrong, and where to look."""
    command = error.ctx.command_path if error.ctx is not None else "diff2i2p"
    words = " ".join(error.format_message().split()).rstrip(".")
    return f"{words}; see `{command} --help`"


if __name__ == "__main__":
    run()
