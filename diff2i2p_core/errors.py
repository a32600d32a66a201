"""The one exception that a user's mistake or a broken file raises."""

SHOWN = 60
"""Characters of a text from outside in an error."""


class InputError(Exception):
    """Bad input. The message is one line: what is wrong, in which file or argument, and the fix.

    The command line prints it and exits with status 2; the ROS node logs it and raises a diagnostic.
    """


def reason(error: Exception) -> str:
    """What another package's exception says, for one line of an error."""
    return str(error).strip().partition("\n")[0][:120] or type(error).__name__


def quoted(text: str) -> str:
    """A text from outside, which may be anything, for one line of an error."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
