"""Where a training's arrays lie when several devices share it, and how its gradients are added up over them.

    batch                   split over all devices, along its examples
    parameters, gradients   on every device, or (as in FSDP) each along its largest axis that the devices divide
    optimiser's state       as the parameters, leaf by leaf
    all else                on every device

A step then sends, with n devices in a ring and B bytes of parameters, 2 (n - 1) / n B from each device: for the sum of
the gradients (all-reduce), or, where parameters are shared, half for gathering them (all-gather) and half for the sum,
of which each device keeps its part (reduce-scatter). Each array is gathered once a step, and is whole until its layer's
backward is done.

Source: Rajbhandari et al. (2020), ZeRO, arXiv:1910.02054, section 5 (the sharding), 7 (what it communicates).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


@dataclass(frozen=True)
class Placement:
    """A mesh, all of whose axes share the batch, and whether its devices share the parameters too."""

    mesh: Mesh
    shard_parameters: bool

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.mesh.size

    @property
    def axes(self) -> tuple[str, ...]:
        """The mesh's axes: together they are one."""
        return self.mesh.axis_names

    def spec(self, leaf: Any) -> P:
        """How a leaf of parameters or of an optimiser's state is split."""
        shape = np.shape(leaf)
        fitting = [axis for axis, size in enumerate(shape) if size and size % self.devices == 0]
        if not self.shard_parameters or not fitting:
            return P()
        return P(*(None,) * max(fitting, key=lambda axis: shape[axis]), self.axes)

    def of_batch(self, axis: int = 0) -> NamedSharding:
        """Examples along that axis are split."""
        return NamedSharding(self.mesh, P(*(None,) * axis, self.axes))

    def whole(self) -> NamedSharding:
        """On every device."""
        return NamedSharding(self.mesh, P())

    def shardings(self, tree: Any) -> Any:
        """Where each leaf of a training state or tally lies."""
        return jax.tree.map(lambda leaf: NamedSharding(self.mesh, self.spec(leaf)), tree)

    def put(self, tree: Any) -> Any:
        """A tree of arrays, the same in every process, where they belong."""
        return jax.tree.map(self._put, tree)

    def _put(self, leaf: Any) -> jax.Array:
        belongs = NamedSharding(self.mesh, self.spec(leaf))
        if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(belongs, leaf.ndim):
            return leaf
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            words = self._sent(jax.random.key_data(leaf), self.whole())
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        return self._sent(leaf, belongs)

    def _sent(self, leaf: Any, where: NamedSharding) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index], dtype=host.dtype)

    def staying(self, run: Callable) -> Callable:
        """`run`, whose state and tally come out where they went in: what is donated is then used again."""

        def run_there(state: Any, tally: Any, *rest: Any) -> tuple[Any, Any]:
            return lax.with_sharding_constraint(run(state, tally, *rest), self.shardings((state, tally)))

        return run_there

    def check(self, function: str, batch_size: int, accumulate: int) -> None:
        """Raises ValueError where a mini-batch cannot be split evenly."""
        if batch_size % (self.devices * accumulate):
            chunks = f", in {accumulate} chunks each," if accumulate > 1 else ""
            raise ValueError(
                f"{function}: the mesh's {self.devices} devices{chunks} must divide the mini-batch, which has "
                f"{batch_size} examples"
            )

    # Inside shard_map, on a device's own part.

    def gathered(self, params: Any, specs: Any) -> Any:
        """The whole parameters, from every device's part of them."""
        return jax.tree.map(
            lambda leaf, spec: lax.all_gather(leaf, self.axes, axis=len(spec) - 1, tiled=True) if spec else leaf,
            params,
            specs,
        )

    def summed(self, params_bar: Any, specs: Any) -> Any:
        """Gradients of the whole parameters added up over the devices, of which each keeps its part."""
        flat, tree = jax.tree.flatten(params_bar)
        flat_specs = jax.tree.leaves(specs, is_leaf=lambda leaf: isinstance(leaf, P))
        whole = iter(lax.psum([bar for bar, spec in zip(flat, flat_specs, strict=True) if not spec], self.axes))
        summed = [
            lax.psum_scatter(bar, self.axes, scatter_dimension=len(spec) - 1, tiled=True) if spec else next(whole)
            for bar, spec in zip(flat, flat_specs, strict=True)
        ]
        return jax.tree.unflatten(tree, summed)


def placement_on(function: str, mesh: Any, shard_parameters: bool) -> Placement:
    """All axes of `mesh`, as the compiler's to fill in; raises TypeError in the name of `function`."""
    if not isinstance(mesh, Mesh):
        raise TypeError(f"{function}: mesh (={mesh!r}) must be a jax.sharding.Mesh, as jax.make_mesh makes it")
    automatic = (AxisType.Auto,) * len(mesh.axis_names)
    return Placement(Mesh(mesh.devices, mesh.axis_names, axis_types=automatic), bool(shard_parameters))
