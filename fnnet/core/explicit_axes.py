"""Explicit mesh axes: a rule whose caller says how the output is sharded, because its arrays leave that open.

A parameter that is sharded over the mesh axes of the examples is gathered first (all-gather), as in FSDP: the examples
stay where they are. https://docs.jax.dev/en/latest/notebooks/explicit-sharding.html
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from fnnet.core.primitives import explicit_mesh, in_auto_axes


@dataclass(frozen=True)
class OutSharding:
    """How the output of a rule is sharded, at one call.

    Args:
        spec: Of each axis of the output, except those that vmap puts in front.
        features: The size of its last axis.
        rank: The number of axes of the first batched array, again without those of vmap; None if there is none.
    """

    spec: P
    features: int
    rank: int | None

    def run(self, function: Callable, arrays: Sequence, is_batched: Sequence[bool]) -> Any:
        """function(*arrays), one array, from gathered parameters."""
        x = next((a for a, flag in zip(arrays, is_batched, strict=True) if flag), None)
        lead = () if x is None else jax.typeof(x).sharding.spec[: x.ndim - self.rank]
        return in_auto_axes(lambda *arrays: function(*self.gathered(arrays, is_batched)), arrays, P(*lead, *self.spec))

    def gathered(self, arrays: Sequence, is_batched: Sequence[bool]) -> list:
        """The arrays, the parameters whole along the mesh axes of the output's axes but the last; under `auto_axes`."""
        taken = {name for entry in self.spec[:-1] for name in _names(entry)}
        free = tuple(name for name in _names(self.spec[-1]) if name not in taken) if self.spec else ()

        def whole(parameter: Any) -> Any:
            if not taken or not parameter.ndim:
                return parameter
            features = (free or None) if parameter.shape[-1] == self.features else None
            return lax.with_sharding_constraint(parameter, P(*(None,) * (parameter.ndim - 1), features))

        return [array if flag else whole(array) for array, flag in zip(arrays, is_batched, strict=True)]


def checked(rule: str, out_sharding: Any, arrays: Sequence, outputs: Sequence, rank: int | None) -> OutSharding:
    """What `out_sharding` says of the output.

    Raises:
        TypeError: It is no PartitionSpec or NamedSharding.
        ValueError: It names more axes than the output has, there are no explicit mesh axes here, or several outputs.
    """
    spec = out_sharding.spec if isinstance(out_sharding, NamedSharding) else out_sharding
    if not isinstance(spec, P):
        raise TypeError(f"{rule}: out_sharding (={out_sharding!r}) must be a PartitionSpec or a NamedSharding")
    if len(outputs) != 1:
        raise ValueError(f"{rule}: out_sharding (={spec}) is for a rule with one output, not {len(outputs)}")
    shape = outputs[0].shape
    if len(spec) > len(shape):
        raise ValueError(f"{rule}: out_sharding (={spec}) has {len(spec)} axes; the output has {len(shape)}")
    if explicit_mesh(arrays) is None:
        raise ValueError(
            f"{rule}: out_sharding (={spec}) is for explicit mesh axes; none are set here (jax.set_mesh sets them), "
            "and no array has any"
        )
    return OutSharding(P(*spec, *(None,) * (len(shape) - len(spec))), shape[-1] if shape else 0, rank)


def _names(entry: Any) -> tuple:
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)
