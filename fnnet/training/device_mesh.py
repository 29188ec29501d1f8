"""`DeviceMesh`: a training that several devices share, and how its gradients are added up over them.

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

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from fnnet.training.arguments import is_pair
from fnnet.training.batches import Pace, matching
from fnnet.training.one_device import OneDevice
from fnnet.training.placement import Batch, Placement, Source
from fnnet.training.sharded_batches import (
    SharedPace,
    all_examples,
    parts_together,
    source_of,
)


@dataclass(frozen=True)
class DeviceMesh(Placement):
    """A mesh, all of whose axes share the batch, and whether its devices share the parameters too."""

    mesh: Mesh
    shard_parameters: bool

    @property
    def devices(self) -> int:  # type: ignore[override]
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

    def made(self, make: Callable, key: jax.Array, params: Any) -> Any:
        """make(key, params) in one program: no device need hold the whole."""
        words, implementation = np.asarray(jax.random.key_data(key)), jax.random.key_impl(key)
        own = None if params is None else self.put(params)

        def make_there(words: Any, params: Any) -> Any:
            return make(jax.random.wrap_key_data(words, impl=implementation), params)

        where = self.shardings(jax.eval_shape(make_there, words, own))
        return jax.jit(make_there, out_shardings=where)(words, own)

    def sums(self, function: Callable, params: Any, *examples: Any, gradients: bool = False) -> Any:
        """Each device gathers the parameters and sums over its own examples; the sums are then added up at once."""
        specs, batch = jax.tree.map(self.spec, params), P(self.axes)

        def of_device(params: Any, *examples: Any) -> Any:
            sums = function(self._gathered(params, specs), *examples)
            return self._summed(sums, specs) if gradients else lax.psum(sums, self.axes)

        return jax.shard_map(
            of_device,
            mesh=self.mesh,
            in_specs=(specs, *(batch,) * len(examples)),
            out_specs=(specs, P()) if gradients else P(),
            check_vma=False,  # no gradient goes through a collective here, and a network need not know of devices
        )(params, *examples)

    def source(self, data: Any, batch_size: int, *, finite: bool) -> Source:
        """Each process reads what its own devices train on."""
        return source_of(data, batch_size, self, finite)

    def pieces(self, data: Any, batch_size: int) -> tuple[int, Iterator[tuple[Batch, tuple]]]:
        """Arrays as one piece; of an iterable the processes' parts together."""
        if is_pair(data):
            whole = matching("evaluate", *data)
            pieces: Iterator = iter([(whole, all_examples(*whole, self))])
        else:
            pieces = parts_together("evaluate", data, self)
        return -(-batch_size // self.devices), pieces

    def pace(self) -> Pace:
        """The same in every process."""
        return SharedPace()

    def check(self, function: str, batch_size: int, accumulate: int) -> None:
        """Raises ValueError where a mini-batch cannot be split evenly."""
        if batch_size % (self.devices * accumulate):
            chunks = f", in {accumulate} chunks each," if accumulate > 1 else ""
            raise ValueError(
                f"{function}: the mesh's {self.devices} devices{chunks} must divide the mini-batch, which has "
                f"{batch_size} examples"
            )

    # Inside shard_map, on a device's own part.

    def _gathered(self, params: Any, specs: Any) -> Any:
        """The whole parameters, from every device's part of them."""
        return jax.tree.map(
            lambda leaf, spec: lax.all_gather(leaf, self.axes, axis=len(spec) - 1, tiled=True) if spec else leaf,
            params,
            specs,
        )

    def _summed(self, sums: tuple[Any, Any], specs: Any) -> tuple[Any, Any]:
        """Gradients of the whole parameters, of which each device keeps its part, and other sums, added up."""
        gradients, others = sums
        flat, tree = jax.tree.flatten(gradients)
        flat_specs = jax.tree.leaves(specs, is_leaf=lambda leaf: isinstance(leaf, P))
        stay_whole = [bar for bar, spec in zip(flat, flat_specs, strict=True) if not spec]
        whole, others = lax.psum((stay_whole, others), self.axes)
        left = iter(whole)
        summed = [
            lax.psum_scatter(bar, self.axes, scatter_dimension=len(spec) - 1, tiled=True) if spec else next(left)
            for bar, spec in zip(flat, flat_specs, strict=True)
        ]
        return jax.tree.unflatten(tree, summed), others


def placement_on(function: str, mesh: Mesh | None, shard_parameters: bool) -> Placement:
    """One device, or all axes of `mesh` together; raises ValueError or TypeError in the name of `function`."""
    if mesh is None:
        if shard_parameters:
            raise ValueError(f"{function}: shard_parameters needs a mesh of devices")
        return OneDevice()
    if not isinstance(mesh, Mesh):
        raise TypeError(f"{function}: mesh (={mesh!r}) must be a jax.sharding.Mesh, as jax.make_mesh makes it")
    automatic = (AxisType.Auto,) * len(mesh.axis_names)
    return DeviceMesh(Mesh(mesh.devices, mesh.axis_names, axis_types=automatic), bool(shard_parameters))
