"""Flax's layout, linen's and NNX's: that of fnnet under other names, in several modules, or with an axis split."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.interop.matching import Library, Names, held, matched
from fnnet.interop.pieces import assembled, spread
from fnnet.interop.slots import slots

NNX_VARIABLES = ("kernel", "bias", "embedding", "scale", "mean", "var")
FLAX = Library("flax", "/", outputs_first=False, ordered=False)  # JAX sorts dictionaries


def from_flax(net: Any, shape: Sequence[int], tree: Any, *, names: Names | None = None) -> dict[str, Any]:
    """A network's parameters from a Flax model's, or its gradients from the model's.

    Args:
        net: A network of the model's layers.
        shape: Of one example.
        tree: linen's `variables["params"]`, NNX's `nnx.state(model, nnx.Param)`, or gradients by them. With batch norms
            their statistics, too: linen's `variables` of "params" and "batch_stats", and NNX's
            `nnx.state(model, (nnx.Param, nnx.BatchStat))`.
        names: The module of each layer: {"conv_0": "stem", "residual_2/conv_0": "block/first"}; of an attention
            whose products are modules elsewhere, a dictionary of these. None: the model's modules of each kind,
            convolutions for one, are the network's, in the order of the numbers in their names, as in Conv_0, Conv_1
            or layers/0, layers/3.

    Returns:
        Copies, as `net.init` makes them, in the dtypes given.

    Raises:
        ValueError: Entries are missing, unexpected or of a wrong shape, all of which are listed; or the modules' names
            do not tell their order and there are no `names`.
        TypeError: An entry is not floating, or a layer with parameters has no `layout`.
    """
    found = slots("from_flax", net, shape).found
    leaves = {name: as_array("from_flax", name, leaf) for name, leaf in _by_name(tree).items()}
    shapes = {name: leaf.shape for name, leaf in leaves.items()}
    pieces = matched("from_flax", "tree", FLAX, found, shapes, names)
    for name, leaf in leaves.items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"from_flax: {name} of dtype {leaf.dtype} must have a floating dtype")
    return assembled(pieces, lambda piece: jnp.array(leaves[piece.name]).reshape(piece.whole))


def to_flax(net: Any, shape: Sequence[int], params: Mapping[str, Any], tree: Any, *, names: Names | None = None) -> Any:
    """The way back: a tree such as linen's `apply` and NNX's `nnx.update` take.

    Args:
        net: As for `from_flax`, like `shape` and `names`.
        shape: Of one example.
        params: Of the network, or gradients.
        tree: The model's parameters, for their structure and dtypes; their values are not read.
        names: The module of each layer.

    Returns:
        Copies, in a tree like `tree`.

    Raises:
        ValueError: As from `from_flax`, for `params` and for `tree`.
        TypeError: A layer with parameters has no `layout`.
    """
    found = slots("to_flax", net, shape).found
    own = held("to_flax", found, params)
    leaves = _by_name(tree)
    shapes = {name: tuple(leaf.shape) for name, leaf in leaves.items()}
    pieces = matched("to_flax", "tree", FLAX, found, shapes, names)
    wholes = spread(pieces, own).items()
    moved = {name: jnp.array(whole, leaves[name].dtype).reshape(shapes[name]) for name, (_, whole) in wholes}
    return jax.tree.unflatten(jax.tree.structure(tree), [moved[name] for name in leaves])


def _by_name(tree: Any) -> dict[str, Any]:
    """The leaves by name, "Conv_0/kernel".

    Left out are linen's collections, and the one name more under which NNX's variables hold theirs.
    """
    named = {}
    collections = isinstance(tree, Mapping) and set(tree) == {"params", "batch_stats"}
    for path, leaf in jax.tree.leaves_with_path(tree):
        *module, last = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        if module and module[-1] in NNX_VARIABLES and last in ("value", "raw_value"):
            last = module.pop()
        if collections:
            del module[0]
        named["/".join([*module, last])] = leaf
    return named
