"""An exception in one line, for a message or a table."""


def in_one_line(error: BaseException) -> str:
    """The exception's class and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
