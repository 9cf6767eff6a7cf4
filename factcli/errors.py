"""The one exception for what a user can put right."""


class FactcliError(Exception):
    """One sentence that says what is wrong and what to do; the command line prints it and exits with `exit_code`."""

    exit_code = 1
    passing = False


class Lacking(FactcliError):
    """What a machine, its disk or its network has not now and may have another time, with the same options."""

    passing = True


class UsageError(FactcliError):
    """The options do not fit together, or a value cannot be read."""

    exit_code = 2


class CheckFailed(FactcliError):
    """What was written does not come back as it was. What took long to make is kept, under a name that is said."""


def one_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
