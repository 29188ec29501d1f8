"""An exception in one line, for a message or a table."""


def in_one_line(error: BaseException) -> str:
    """The exception's class and the beginning of its message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
