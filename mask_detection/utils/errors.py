"""The one exception that is meant for the user's eyes."""


class MaskDetectionError(Exception):
    """Something the user can mend.

    The message is one line: it names the file or option, says what is wrong with it and what to do.
    Scripts print it to standard error instead of a traceback.
    """
