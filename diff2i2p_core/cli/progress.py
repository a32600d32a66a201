"""Progress bars on stderr, one for each kind of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bars(
    *, counts: bool = False, transient: bool = True
) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields a function to call with (task, done, total or None). The first call for a task shows its bar.

    `counts` shows done and total beside the percentage. `transient` bars disappear at the end, and are only
    shown on a terminal; others stay.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TaskID

    console = Console(stderr=True)
    *columns, remaining = Progress.get_default_columns()
    shown = (*columns, *([MofNCompleteColumn()] if counts else []), remaining)
    hidden = transient and not console.is_terminal
    with Progress(*shown, console=console, transient=transient, disable=hidden) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield progress


@contextmanager
def download_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yields a function to call with the bytes done and, if known, the total. Only shown on a terminal."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        *Progress.get_default_columns()[:-2],
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
