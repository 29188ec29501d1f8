"""What has to be shown of a rule: an independent reference, and the arguments at which they are compared.

`import fnnet` does not load the proofs; `reference_of` does, when it is first called.
"""

import functools
from collections.abc import Callable
from typing import Any

from fnnet.core.partials import is_partial


def reference_of(function: Any) -> Callable | None:
    """The independent reference of a function that has a proof, with the same keywords bound; None for another.

    It looks through `functools.partial` with keywords; a partial with positional arguments has no reference.
    """
    from fnnet.proofs.table import FUNCTIONS, REFERENCES

    keywords: dict[str, Any] = {}
    while is_partial(function) and not function.args:
        keywords = {**function.keywords, **keywords}
        function = function.func
    name = next((name for name, own in FUNCTIONS.items() if own is function), None)
    return None if name is None else functools.partial(REFERENCES[name], **keywords)
