"""What somebody may have meant by a name that does not exist."""

import difflib
from collections.abc import Iterable


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """The rest of an error's sentence: the name that is closest, or else all there are."""
    names = list(names)
    close = difflib.get_close_matches(text, names, 1, 0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(names)}" if names else ""
