"""The one exception for user mistakes and broken files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SHOWN = 60
"""Maximum length of external text in an error message."""


class InputError(Exception):
    """Bad input. The message is one line: what is wrong, in which file or argument, and how to fix it.

    The command line prints it and exits with status 2. The ROS node logs it and reports it in /diagnostics.
    """


@contextmanager
def located(where: object) -> Iterator[None]:
    """Begin the message of an InputError with the file or message that it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def reason(error: Exception) -> str:
    """The message of another package's exception, shortened to fit into one line."""
    return str(error).strip().partition("\n")[0][:120] or type(error).__name__


def quoted(text: str) -> str:
    """External text, which may be anything, quoted and shortened to fit into one line."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
