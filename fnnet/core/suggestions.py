"""What may have been meant by a name that does not exist."""

import difflib
from collections.abc import Iterable


def did_you_mean(text: str, names: Iterable[str], *, rest: str | None = None, cutoff: float = 0.5) -> str:
    """The rest of an error's sentence: the name that is closest; else `rest`, or, without it, all there are.

    The dashes of options are alike and do not count.
    """
    names = list(names)
    bare = {name.lstrip("-"): name for name in names}
    close = difflib.get_close_matches(text.lstrip("-"), bare, 1, cutoff)
    if close:
        return f"; did you mean {bare[close[0]]}?"
    if rest is not None:
        return rest
    return f"; there are {', '.join(names)}" if names else ""
