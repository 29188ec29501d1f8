"""A layer's compiled programs: its forward, and its reference pulled back and pushed forward.

They take every array as an argument, so that one layer, traced again with other numbers, compiles nothing again.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax

from fnnet.checking.leaves import replaced
from fnnet.checking.programs import Program
from fnnet.checking.undecorated import has_rules, undecorated
from fnnet.core.primitives import is_inexact
from fnnet.core.reduction import losses_of
from fnnet.proofs import reference_of
from fnnet.tracing.plain_layers import AUTODIFF, INDEPENDENT, UNDECORATED, plain_layer, reads_key
from fnnet.tracing.probes import called

KEPT = 256  # layers at so many shapes


class LayerPrograms:
    """A layer as a function of flat leaves, beside its reference.

    Args:
        own: own(*leaves) -> y, with the hand-written backward.
        plain: plain(*leaves) -> y, without.
        against: What `plain` is, in words.
        wide: Whether both can run in double precision (a layer that draws random numbers cannot).
        constants: How many leaves at the end are not differentiated.
        trains: Whether the layer does something else than in evaluation: it draws, or takes statistics of the batch.
    """

    def __init__(
        self,
        own: Callable,
        plain: Callable,
        against: str,
        wide: bool = True,
        constants: int = 0,
        trains: bool = False,
    ):
        """Nothing is compiled yet."""
        self.own, self.plain, self.against, self.wide, self.constants = own, plain, against, wide, constants
        self.trains = trains
        self.values = self._program(lambda *leaves: own(*leaves))
        self.pull = self._program(self._pull)
        self._pushes: dict[int, Program] = {}
        self._several_pushes: dict[int, Program] = {}

    def with_gradient(self, leaves: Sequence[Any]) -> list[int]:
        """Indices of the leaves that have a gradient."""
        return [i for i, leaf in enumerate(leaves[: len(leaves) - self.constants]) if is_inexact(leaf)]

    def push(self, index: int) -> Program:
        """push(leaves, dot): the derivative of the output by one leaf, along `dot`."""
        return self._pushes.setdefault(index, self._program(self._pushed(index)))

    def pushes(self, index: int) -> Program:
        """pushes(leaves, dots): the same along each of `dots`, in one program."""
        along = jax.vmap(self._pushed(index), (None, 0))
        return self._several_pushes.setdefault(index, self._program(lambda leaves, dots: along(leaves, dots)))

    def _program(self, function: Callable) -> Program:
        return Program(function, self.wide, by_size=True)

    def _pushed(self, index: int) -> Callable:
        def pushed(leaves: Sequence[Any], dot: Any) -> Any:
            return jax.jvp(lambda leaf: self.plain(*replaced(leaves, [index], [leaf])), (leaves[index],), (dot,))[1]

        return pushed

    def _pull(self, leaves: Sequence[Any], y_bar: Any) -> tuple:
        indices = self.with_gradient(leaves)
        _, pulled = jax.vjp(lambda *given: self.plain(*replaced(leaves, indices, given)), *(leaves[i] for i in indices))
        return pulled(y_bar)


def programs_of_layer(layer: Any, batched: bool, x: Any, leaves: Sequence[Any], tree: Any, key: Any) -> LayerPrograms:
    """The programs of a layer on arrays like these; `tree` is the structure of its parameters."""
    example = jax.ShapeDtypeStruct(x.shape[batched:], x.dtype)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    if key is None:
        return _kept(_keyless, layer, batched, example, shapes, tree)
    of_batch = jax.ShapeDtypeStruct(x.shape, x.dtype), *shapes
    if reads_key(layer, jax.tree.unflatten(tree, shapes), example):
        return _in_training(layer, batched, of_batch, tree, key)
    return _kept(_in_training, layer, batched, of_batch, tree)


def programs_of_loss(loss: Callable, outputs: Any, y: Any) -> LayerPrograms:
    """The programs of a loss as a function of outputs and labels; labels are not differentiated."""
    shapes = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (outputs, y))
    return _kept(_of_loss, loss, *shapes)


def _keyless(layer: Any, batched: bool, example: Any, shapes: tuple, tree: Any) -> LayerPrograms:
    def of_one(x: Any, params: Any) -> Any:
        return called(layer, params, x, None, batched=False)

    def on_batch(function: Callable) -> Callable:
        """function(x, params) of one example as a function of the batch and the parameters' leaves."""
        mapped = jax.vmap(function, (0, None)) if batched else function
        return lambda x, *leaves: mapped(x, jax.tree.unflatten(tree, leaves))

    plain, against = plain_layer(layer, of_one, (example, jax.tree.unflatten(tree, shapes)))
    return LayerPrograms(on_batch(of_one), on_batch(plain), against)


def _in_training(layer: Any, batched: bool, shapes: tuple, tree: Any, key: Any = None) -> LayerPrograms:
    """Of a layer that does something else in training; without a key it is one that does not read its value."""
    wide = key is None
    if key is None:
        key = jax.random.split(jax.random.key(0), shapes[0].shape[0]) if batched else jax.random.key(0)

    def own(x: Any, *leaves: Any) -> Any:
        return called(layer, jax.tree.unflatten(tree, leaves), x, key, batched)

    if has_rules(own, shapes):
        return LayerPrograms(own, undecorated(own), UNDECORATED, wide, trains=True)
    return LayerPrograms(own, own, AUTODIFF, wide, trains=True)


def _of_loss(loss: Callable, outputs: Any, y: Any) -> LayerPrograms:
    def in_one_dtype(function: Callable) -> Callable:
        return lambda outputs, y: function(outputs, y.astype(outputs.dtype) if is_inexact(y) else y)

    own = in_one_dtype(lambda outputs, y: losses_of("trace", loss(outputs, y)))
    known = reference_of(loss)
    if known is not None:
        plain, against = in_one_dtype(known), INDEPENDENT
    elif has_rules(own, (outputs, y)):
        plain, against = undecorated(own), UNDECORATED
    else:
        plain, against = own, AUTODIFF
    return LayerPrograms(own, plain, against, constants=1)


@functools.lru_cache(maxsize=KEPT)
def _cached(make: Callable, *args: Hashable) -> LayerPrograms:
    return make(*args)


def _kept(make: Callable, *args: Any) -> LayerPrograms:
    """make(*args), kept for the next trace if the arguments can be hashed."""
    try:
        hash(args)
    except TypeError:  # a user's layer that cannot be hashed
        return make(*args)
    return _cached(make, *args)
