"""The collection: wrong rules of every kind, right ones, and what a checker has to say of each.

It was written before the checker that it judges. `cases()` gives all of them, `case.py` says what a case is,
`circumstances.py` where a wrong one shows, `proof.py` proves without any checker that each is what it says, and
`judge.py` asks the checker.
"""

import collections
import importlib

FAMILIES = (
    "dense",
    "elementwise",
    "activations",
    "conv",
    "causal",
    "transposed",
    "pooling",
    "softmax",
    "cross_entropy",
    "losses",
    "layer_norm",
    "normalisation",
    "gather",
    "arrays",
    "attention",
    "blocks",
    "recurrent",
    "cells",
    "sequences",
    "linear_algebra",
    "transformed",
    "dtypes",
    "deliberate",
    "difficult",
    "unusual",
    "published",
    "own",
    "references",
)


def families() -> dict[str, list]:
    """The cases of each family."""
    return {name: _of(name) for name in FAMILIES}


def cases() -> list:
    """Every case, family by family."""
    return [case for family in families().values() for case in family]


def short() -> list:
    """Half of them, for where all take too long.

    Left out, but for the first four of each file: right rules, and the wrong ones that checks R and F see, that come
    from no report and have no waiver.
    """
    return [case for family in families().values() for case in _first(family, 4)]


def _of(name: str) -> list:
    return importlib.import_module(f"collection.{name}").CASES


def _first(family: list, most: int) -> list:
    kept: list = []
    seen: collections.Counter = collections.Counter()
    for case in family:
        easy = case.verdict == "right" or (case.caught_by == frozenset("RF") and not case.source and not case.waiver)
        seen[case.verdict] += easy
        if not easy or seen[case.verdict] <= most:
            kept.append(case)
    return kept
