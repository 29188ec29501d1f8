"""Of many cases that show the same, some run by default and all with the slow tests."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def one_in(number: int, cases: Iterable[Any], ids: Callable[[Any], str] | Iterable[str] | None = None) -> list:
    """The cases as parameters of a test: one in `number` runs by default, the first among them; the others are slow."""
    cases = list(cases)
    names = map(ids, cases) if callable(ids) else [None] * len(cases) if ids is None else ids
    return [
        pytest.param(
            *(case if isinstance(case, tuple) and not hasattr(case, "_fields") else (case,)),
            id=name,
            marks=[pytest.mark.slow] if place % number else [],
        )
        for place, (case, name) in enumerate(zip(cases, names, strict=True))
    ]
