"""The launcher's errors, each with the exit code of the process that it ends.

LauncherError 1 > CannotStart 3. The first line of the message is the whole story.
"""


class LauncherError(Exception):
    """Something failed that may work the next time."""

    exit_code = 1


class CannotStart(LauncherError):
    """It cannot start as configured; trying again changes nothing."""

    exit_code = 3
