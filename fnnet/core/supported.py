"""The versions of JAX that fnnet is tested with; another version gives one warning."""

import re
import warnings

FIRST, BEYOND = (0, 10, 2), (0, 13)  # from the first on, and before the other


def warn_of(version: str) -> None:
    """A warning where a version of JAX is outside the supported range; what cannot be read as a version is outside."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    numbers = () if found is None else tuple(int(part or 0) for part in found.groups())
    if not FIRST <= numbers < BEYOND:
        first, beyond = (".".join(map(str, bound)) for bound in (FIRST, BEYOND))
        warnings.warn(
            f"fnnet is tested with jax from {first} on and before {beyond}; this is jax {version}", stacklevel=2
        )
