"""Explicit mesh axes: a layer whose output's sharding is asked for, since that of its operands leaves it open.

A kernel that is sharded over the axes over which the examples are is brought together first (all-gather), as in FSDP:
the examples stay where they are. https://docs.jax.dev/en/latest/notebooks/explicit-sharding.html
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P


def spec_of(function: str, out_sharding: Any, x: Any) -> P | None:
    """What `out_sharding` says of each axis of an output with as many axes as `x`; None if it is None.

    Raises:
        TypeError: It is no PartitionSpec or NamedSharding.
        ValueError: It names more axes than there are, or there are no explicit mesh axes here.
    """
    if out_sharding is None:
        return None
    spec = out_sharding.spec if isinstance(out_sharding, NamedSharding) else out_sharding
    if not isinstance(spec, P):
        raise TypeError(f"{function}: out_sharding (={out_sharding!r}) must be a PartitionSpec or a NamedSharding")
    if len(spec) > x.ndim:
        raise ValueError(f"{function}: out_sharding (={spec}) has {len(spec)} axes; the output has {x.ndim}")
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not mesh.explicit_axes:
        raise ValueError(
            f"{function}: out_sharding (={spec}) is for explicit mesh axes; none are set here (jax.set_mesh sets them)"
        )
    return P(*spec, *(None,) * (x.ndim - len(spec)))


def placed(function: Callable, x: Any, *parameters: Any, spec: P | None) -> Any:
    """function(x, *parameters), with x's leading axes; `spec` says how the last axes of the output are sharded."""
    if spec is None:
        return function(x, *parameters)
    lead = jax.typeof(x).sharding.spec[: x.ndim - len(spec)]  # axes that vmap has put in front
    axes = jax.sharding.get_abstract_mesh().explicit_axes
    return jax.sharding.auto_axes(function, axes=axes, out_sharding=P(*lead, *spec))(x, *parameters)


def gathered(parameter: Any, spec: P | None) -> Any:
    """A parameter, whole along the mesh axes over which `spec` has an output's axes but the last; under `auto_axes`."""
    if spec is None or parameter is None:
        return parameter
    taken = {name for entry in spec[:-1] for name in _names(entry)}
    if not taken:
        return parameter
    features = tuple(name for name in _names(spec[-1]) if name not in taken)
    return lax.with_sharding_constraint(parameter, P(*(None,) * (parameter.ndim - 1), features or None))


def _names(entry: Any) -> tuple:
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)
