"""The one exception that a user's mistake or a broken file raises."""


class InputError(Exception):
    """Bad input. The message is one line: what is wrong, in which file or argument, and the mend.

    The command line prints it and exits with status 2; the ROS node logs it and raises a diagnostic.
    """
