"""From the arrays of one forward and backward to the steps of a trace, each layer beside its references."""

import dataclasses
from collections.abc import Callable, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.leaves import replaced
from fnnet.core.jaxprs import dependent_outputs, evaluated
from fnnet.core.paths import entry
from fnnet.core.primitives import is_inexact
from fnnet.layers.containers import Container, is_threaded
from fnnet.layers.protocol import Layer, function_name, text
from fnnet.rules.labels import LabelError
from fnnet.tracing import probes
from fnnet.tracing.comparison import Comparison
from fnnet.tracing.graph import flows
from fnnet.tracing.layer_programs import programs_of_layer, programs_of_loss
from fnnet.tracing.numbers import Numbers, numbers
from fnnet.tracing.plain_layers import trains
from fnnet.tracing.records import Outgoing, Saved, Source, Step
from fnnet.tracing.rule_pages import page_of_words, pages_of
from fnnet.tracing.traces import Trace

LABELS = "labels"


def follow(
    net: Any,
    loss: Callable,
    params: Any,
    x: Any,
    y: Any,
    key: Any,
    optimizer: Any,
    opt_state: Any,
    replace: dict[str, Callable],
) -> Trace:
    """`trace`, with its arguments checked."""
    if not is_threaded(net):
        own = " without an `apply` of its own" if isinstance(net, Container) else ""
        raise TypeError(f"trace: net (={net!r}) must be a Sequential or a Residual{own}")
    net = net.without_policy()
    x, y = jnp.asarray(x), jnp.asarray(y)
    params = jax.tree.map(jnp.asarray, params)
    whole, whole_params = net, params
    net, params = whole.apart(params)
    objective = _objective(net, loss, params, x, y, replace)
    keys = objective.keys(key, x)
    try:
        gone = probes.passes(objective, params, x, y, keys)
    except LabelError:
        objective = objective._replace(hidden_labels=True)
        gone = probes.passes(objective, params, x, y, keys)
    if missing := replace.keys() - {call.name for call in gone.calls}:
        names = ", ".join(call.name for call in gone.calls)
        raise ValueError(f"trace: replace has {sorted(missing)}; the layers are {names}")
    mean, params_bar = probes.untapped(objective, params, x, y, keys)
    updates, moved = _updates(whole, optimizer, opt_state, whole_params, params, params_bar)
    rng = np.random.default_rng(0)
    steps = [
        _step(objective, call, x_bar, y_bar, entry(params_bar, call.name), _of(updates, call.name), rng)
        for call, x_bar, y_bar in zip(gone.calls, gone.x_bars, gone.y_bars, strict=True)
    ]
    steps.append(_loss_step(objective, gone, y, rng))
    found = flows(objective, params, x, keys, gone.calls)
    if found is not None:
        steps = [dataclasses.replace(step, **flow._asdict()) for step, flow in zip(steps, found, strict=True)]
    return Trace(
        net=net,
        steps=tuple(steps),
        x=numbers("x", x),
        y=numbers("y", y),
        outputs=numbers("outputs", gone.outputs),
        loss=float(gone.loss),
        loss_after=None if moved is None else float(probes.mean_of(objective, moved, x, y, keys)),
        batch=len(x) if objective.batched else None,
        params=params,
        params_bar=params_bar,
        same_bits=probes.same_bits((mean, params_bar), (gone.loss, gone.params_bar)),
        graph=found is not None,
    )


def _objective(net: Container, loss: Callable, params: Any, x: Any, y: Any, replace: dict) -> probes.Objective:
    """Whether x is one example or a batch: the loss of one example is one number."""
    single = probes.Objective(net, loss, replace, False)
    try:
        one = jax.eval_shape(lambda params, x, y: single.losses(single.apply(params, x), y), params, x, y)
        if one.shape == ():
            return single
    except (TypeError, ValueError):
        pass  # the shapes need a leading axis, or do not fit at all: then the batch raises
    return single._replace(batched=True)


@np.errstate(invalid="ignore", over="ignore")  # of infinite numbers, which the trace tells
def _step(
    objective: probes.Objective, call: probes.LayerCall, x_bar: Any, y_bar: Any, bars: Any, updates: Any, rng: Any
) -> Step:
    layer = call.layer
    common: dict[str, Any] = {
        "name": call.name,
        "kind": layer.kind if isinstance(layer, Layer) else function_name(layer),
        "text": repr(layer) if isinstance(layer, Layer) else text(layer),
        "inputs": numbers("x", call.x),
        "value": numbers("y", call.y),
        "incoming": numbers("y_bar", y_bar),
    }
    if is_threaded(layer):
        of_x = () if x_bar is None else (Outgoing("x", numbers("x", call.x), numbers("x_bar", x_bar)),)
        shown = common | {"text": f"{type(layer).__name__}(...)"}
        return Step(**shown, pages=(page_of_words(layer),), saved=(), outgoing=of_x, is_nested=True)
    names, leaves, tree = _flat(call.params)
    example = jax.ShapeDtypeStruct(call.x.shape[objective.batched :], call.x.dtype)
    key = call.key if call.key is not None and trains(layer, call.params, example) else None

    programs = programs_of_layer(layer, objective.batched, call.x, leaves, tree, key)
    compared = Comparison(programs, (call.x, *leaves), ("x", *names), y_bar)
    rows = [("x", call.x, x_bar, None)]
    of_updates = [None] * len(names) if updates is None else jax.tree.leaves(updates)
    rows += list(zip(names, leaves, jax.tree.leaves(bars), of_updates, strict=True))
    return Step(
        **common,
        pages=pages_of(programs.own, (call.x, *leaves), layer),
        saved=_saved(programs.own, call.x, call.y, names, leaves),
        outgoing=_outgoing(rows, compared, rng, _statistics(layer, call.params)),
        is_nested=False,
        layer=layer,
        comparison=compared,
        insides=_insides(layer, call, key, objective.batched),
    )


def _statistics(layer: Any, params: Any) -> set[str]:
    """The parameters that have no gradient: a layer's forward depends on them, but training does not move them."""
    names, are_statistics, _ = _flat(layer.statistics(params) if isinstance(layer, Layer) else {})
    return {name for name, is_one in zip(names, are_statistics, strict=True) if is_one}


def _insides(layer: Any, call: probes.LayerCall, key: Any, batched: bool) -> tuple[Numbers, ...]:
    if not isinstance(layer, Layer):
        return ()
    found = layer.insides_batch(call.params, call.x, keys=key) if batched else layer.insides(call.params, call.x)
    return tuple(numbers(name, array) for name, array in found.items())


@np.errstate(invalid="ignore", over="ignore")  # of infinite numbers, which the trace tells
def _loss_step(objective: probes.Objective, gone: probes.Passes, y: Any, rng: Any) -> Step:
    loss = objective.loss
    programs = programs_of_loss(loss, gone.outputs, y)
    compared = Comparison(programs, (gone.outputs, y), ("outputs", LABELS), gone.losses_bar)
    hidden = jax.jit(
        lambda outputs, y: objective.losses(outputs, y)
    )  # which does not see whether the labels are classes
    return Step(
        name=probes.LOSS,
        kind=function_name(loss),
        text=text(loss),
        pages=pages_of(objective.losses, (gone.outputs, y), loss),
        inputs=numbers("outputs", gone.outputs),
        value=numbers("loss", gone.losses),
        saved=_saved(hidden, gone.outputs, gone.losses, (LABELS,), (y,)),
        incoming=numbers("loss_bar", gone.losses_bar),
        outgoing=_outgoing([("outputs", gone.outputs, gone.outputs_bar, None)], compared, rng),
        is_nested=False,
        layer=loss,
        comparison=compared,
    )


def _outgoing(rows: list, compared: Comparison, rng: Any, fixed: Set[str] = frozenset()) -> tuple[Outgoing, ...]:
    """The cotangents, beside their references; there are no differences along what is `fixed`."""
    return tuple(
        Outgoing(
            name,
            numbers(name, value),
            numbers(f"{name}_bar", bar),
            compared.agreement(index, np.asarray(bar)),
            None if name in fixed else compared.slope(index, np.asarray(bar), rng),
            None if update is None else numbers(f"update of {name}", update),
        )
        for index, (name, value, bar, update) in enumerate(rows)
        if bar is not None
    )


def _saved(own: Callable, x: Any, y: Any, names: Any, leaves: Any) -> tuple[Saved, ...]:
    """The arrays that `jax.vjp` carries from the forward to the backward, recognised by their bits; no constants."""
    args = (x, *leaves)
    indices = [i for i, leaf in enumerate(args) if is_inexact(leaf) and (i == 0 or names[i - 1] != LABELS)]

    def residuals(*args: Any) -> list:
        _, pulled = jax.vjp(lambda *given: own(*replaced(args, indices, given)), *(args[i] for i in indices))
        return [a for a in jax.tree.leaves(pulled) if hasattr(a, "dtype")]

    closed = jax.make_jaxpr(residuals)(*args)
    depends = dependent_outputs(closed.jaxpr, [True] * len(closed.jaxpr.invars))
    known = [(Source.PARAMETER, name, leaf) for name, leaf in zip(names, leaves, strict=True)]
    known += [(Source.OUTPUT, "y", y), (Source.INPUT, "x", x)]
    found: list[Saved] = []
    # Not residuals(*args): outside of a jaxpr, JAX lists an array once for each operation that saves it.
    for leaf, is_computed in zip(evaluated(closed, *args), depends, strict=True):
        if not is_computed or not leaf.size or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            continue
        array = np.asarray(leaf)
        same = ((source, name) for source, name, other in known if _is_same(array, other))
        source, name = next(same, (Source.OWN, str(Source.OWN)))
        if source == Source.OWN or not any((one.source, one.numbers.name) == (source, name) for one in found):
            found.append(Saved(source, Numbers(name, array)))
    return tuple(found)


def _is_same(array: np.ndarray, other: Any) -> bool:
    other = np.asarray(other)
    return array.dtype == other.dtype and array.size == other.size and array.tobytes() == other.tobytes()


def _updates(net: Container, optimizer: Any, opt_state: Any, params: Any, apart: Any, bars: Any) -> tuple[Any, Any]:
    """What the optimiser of `params` adds to each of those of `net.apart`, from their cotangents; and the sums."""
    if optimizer is None:
        return None, None
    import optax

    _, pull = jax.vjp(lambda params: net.apart(params)[1], params)
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params) if opt_state is None else opt_state
        updates = net.apart(optimizer.update(*pull(bars), state, params)[0])[1]
        return updates, optax.apply_updates(apart, updates)


def _flat(params: Any) -> tuple[list[str], list[Any], Any]:
    """The leaves of a layer's parameters, with their names."""
    pairs, tree = jax.tree.flatten_with_path(params)
    return (
        ["/".join(jax.tree_util.keystr((key,), simple=True) for key in path) for path, _ in pairs],
        [leaf for _, leaf in pairs],
        tree,
    )


def _of(updates: Any, path: str) -> Any:
    return None if updates is None else entry(updates, path)
