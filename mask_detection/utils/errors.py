"""The one exception that is meant for the user's eyes."""


class MaskDetectionError(Exception):
    """Something the user can mend.

    The message is one line: it names the file or option, says what is wrong with it and what to do.
    Scripts print it to standard error instead of a traceback.
    """


class OutputError(MaskDetectionError):
    """An output cannot be written, which ends a run; the other outputs of that run are kept and finished."""
