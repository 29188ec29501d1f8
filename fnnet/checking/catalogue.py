"""The letters and names of the checks, cheapest first."""

from collections.abc import Iterable

NAMES = {
    "S": "structure",
    "P": "primal",
    "R": "reference",
    "L": "linearity",
    "F": "finite differences",
    "V": "vmap",
    "T": "transforms",
    "E": "edge values",
    "B": "shapes",
    "D": "dtypes",
    "2": "second order",
    "X": "determinism",
    "M": "memory",
    "W": "power",
}


def with_name(letter: str) -> str:
    """A check as reports print it: "R reference"."""
    return f"{letter} {NAMES[letter]}"


def letters(checks: Iterable[str] | None, option: str = "checks") -> tuple[str, ...]:
    """Letters of the checks, each given as its letter or its name; all of them for None; cheapest first."""
    if checks is None:
        return tuple(NAMES)
    if isinstance(checks, str) and checks in NAMES.values():
        checks = [checks]
    by_name = {name: letter for letter, name in NAMES.items()}
    found = {by_name.get(check, check) for check in checks}
    for check in found:
        if check not in NAMES:
            known = ", ".join(map(with_name, NAMES))
            raise ValueError(f"check: {option} has {check!r}; the checks are {known}")
    if not found and option == "checks":
        raise ValueError("check: checks is empty; it must name at least one check, such as R, reference")
    return tuple(letter for letter in NAMES if letter in found)
