"""From the arrays of one forward and backward to the steps of a trace, each layer beside its references."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.jaxprs import dependent_outputs
from fnnet.core.paths import entry
from fnnet.core.primitives import is_inexact
from fnnet.layers.protocol import Container, Layer, function_name, is_threaded, text
from fnnet.rules.labels import LabelError
from fnnet.tracing import probes
from fnnet.tracing.comparison import Comparison
from fnnet.tracing.layer_programs import programs_of_layer, programs_of_loss
from fnnet.tracing.numbers import Numbers, numbers
from fnnet.tracing.plain_layers import draws
from fnnet.tracing.records import Outgoing, Saved, Step
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
    """`trace`, its arguments being looked at."""
    if not is_threaded(net):
        own = " without an `apply` of its own" if isinstance(net, Container) else ""
        raise TypeError(f"trace: net (={net!r}) must be a Sequential or a Residual{own}")
    net = net.without_policy()
    x, y = jnp.asarray(x), jnp.asarray(y)
    params = jax.tree.map(jnp.asarray, params)
    problem = _problem(net, loss, params, x, y, replace)
    keys = problem.keys(key, x)
    try:
        gone = probes.passes(problem, params, x, y, keys)
    except LabelError:
        problem = problem._replace(hidden_labels=True)
        gone = probes.passes(problem, params, x, y, keys)
    if missing := replace.keys() - {visit.name for visit in gone.visits}:
        names = ", ".join(visit.name for visit in gone.visits)
        raise ValueError(f"trace: replace has {sorted(missing)}; the layers are {names}")
    mean, params_bar = probes.untapped(problem, params, x, y, keys)
    updates, loss_after = _updates(problem, optimizer, opt_state, params, params_bar, x, y, keys)
    rng = np.random.default_rng(0)
    steps = [
        _step(problem, visit, x_bar, y_bar, entry(params_bar, visit.name), _of(updates, visit.name), rng)
        for visit, x_bar, y_bar in zip(gone.visits, gone.x_bars, gone.y_bars, strict=True)
    ]
    steps.append(_loss_step(problem, gone, y, rng))
    return Trace(
        net=net,
        steps=tuple(steps),
        x=numbers("x", x),
        y=numbers("y", y),
        outputs=numbers("outputs", gone.outputs),
        loss=float(gone.loss),
        loss_after=loss_after,
        batch=len(x) if problem.batched else None,
        params=params,
        params_bar=params_bar,
        same_bits=probes.same_bits((mean, params_bar), (gone.loss, gone.params_bar)),
    )


def _problem(net: Container, loss: Callable, params: Any, x: Any, y: Any, replace: dict) -> probes.Problem:
    """Whether x is one example or a batch: the loss of one example is one number."""
    single = probes.Problem(net, loss, replace, False)
    try:
        one = jax.eval_shape(lambda params, x, y: single.losses(single.apply(params, x), y), params, x, y)
        if one.shape == ():
            return single
    except (TypeError, ValueError):
        pass  # shapes that do not go together without a leading axis, or not at all: then the batch will say so
    return single._replace(batched=True)


def _step(
    problem: probes.Problem, visit: probes.Visit, x_bar: Any, y_bar: Any, bars: Any, updates: Any, rng: Any
) -> Step:
    layer = visit.layer
    common: dict[str, Any] = {
        "name": visit.name,
        "kind": layer.kind if isinstance(layer, Layer) else function_name(layer),
        "text": repr(layer) if isinstance(layer, Layer) else text(layer),
        "inputs": numbers("x", visit.x),
        "value": numbers("y", visit.y),
        "incoming": numbers("y_bar", y_bar),
    }
    if is_threaded(layer):
        of_x = () if x_bar is None else (Outgoing("x", numbers("x", visit.x), numbers("x_bar", x_bar)),)
        shown = common | {"text": f"{type(layer).__name__}(...)"}
        return Step(**shown, pages=(page_of_words(layer),), saved=(), outgoing=of_x, is_nested=True)
    names, leaves, tree = _flat(visit.params)
    example = jax.ShapeDtypeStruct(visit.x.shape[problem.batched :], visit.x.dtype)
    key = visit.key if visit.key is not None and draws(layer, visit.params, example) else None

    programs = programs_of_layer(layer, problem.batched, visit.x, leaves, tree, key)
    compared = Comparison(programs, (visit.x, *leaves), ("x", *names), y_bar)
    rows = [("x", visit.x, x_bar, None)]
    of_updates = [None] * len(names) if updates is None else jax.tree.leaves(updates)
    rows += list(zip(names, leaves, jax.tree.leaves(bars), of_updates, strict=True))
    return Step(
        **common,
        pages=pages_of(programs.own, (visit.x, *leaves), layer),
        saved=_saved(programs.own, visit.x, visit.y, names, leaves),
        outgoing=_outgoing(rows, compared, rng),
        is_nested=False,
        layer=layer,
        comparison=compared,
    )


def _loss_step(problem: probes.Problem, gone: probes.Passes, y: Any, rng: Any) -> Step:
    loss = problem.loss
    programs = programs_of_loss(loss, gone.outputs, y)
    compared = Comparison(programs, (gone.outputs, y), ("outputs", LABELS), gone.losses_bar)
    hidden = jax.jit(lambda outputs, y: problem.losses(outputs, y))  # which does not see whether the labels are classes
    return Step(
        name=probes.LOSS,
        kind=function_name(loss),
        text=text(loss),
        pages=pages_of(problem.losses, (gone.outputs, y), loss),
        inputs=numbers("outputs", gone.outputs),
        value=numbers("loss", gone.losses),
        saved=_saved(hidden, gone.outputs, gone.losses, (LABELS,), (y,)),
        incoming=numbers("loss_bar", gone.losses_bar),
        outgoing=_outgoing([("outputs", gone.outputs, gone.outputs_bar, None)], compared, rng),
        is_nested=False,
        layer=loss,
        comparison=compared,
    )


def _outgoing(rows: list, compared: Comparison, rng: Any) -> tuple[Outgoing, ...]:
    return tuple(
        Outgoing(
            name,
            numbers(name, value),
            numbers(f"{name}_bar", bar),
            compared.agreement(place, np.asarray(bar)),
            compared.slope(place, np.asarray(bar), rng),
            None if update is None else numbers(f"update of {name}", update),
        )
        for place, (name, value, bar, update) in enumerate(rows)
        if bar is not None
    )


def _saved(own: Callable, x: Any, y: Any, names: Any, leaves: Any) -> tuple[Saved, ...]:
    """What `jax.vjp` carries from the forward to the backward, each array told by its bits; not what is constant."""
    args = (x, *leaves)
    moving = [i for i, leaf in enumerate(args) if is_inexact(leaf) and (i == 0 or names[i - 1] != LABELS)]

    def residuals(*args: Any) -> list:
        def of_moving(*values: Any) -> Any:
            merged = list(args)
            for i, value in zip(moving, values, strict=True):
                merged[i] = value
            return own(*merged)

        return [a for a in jax.tree.leaves(jax.vjp(of_moving, *(args[i] for i in moving))[1]) if hasattr(a, "dtype")]

    jaxpr = jax.make_jaxpr(residuals)(*args).jaxpr
    depends = dependent_outputs(jaxpr, [True] * len(jaxpr.invars))
    known = [*zip(names, leaves, strict=True), ("y, the layer's output", y), ("x, the layer's input", x)]
    found: list[Saved] = []
    for leaf, is_computed in zip(residuals(*args), depends, strict=True):
        if not is_computed or not leaf.size or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            continue
        array = np.asarray(leaf)
        what = next((name for name, other in known if _is_same(array, other)), "of its own")
        if not any(one.what == what != "of its own" for one in found):
            there = what != "of its own" and not what.startswith("y,")
            found.append(Saved(what, Numbers(what.split(",")[0], array), there))
    return tuple(found)


def _is_same(array: np.ndarray, other: Any) -> bool:
    other = np.asarray(other)
    return array.dtype == other.dtype and array.size == other.size and array.tobytes() == other.tobytes()


def _updates(
    problem: probes.Problem, optimizer: Any, opt_state: Any, params: Any, params_bar: Any, x: Any, y: Any, keys: Any
) -> tuple[Any, float | None]:
    """What the optimiser adds to each parameter, and the loss on the same examples after that."""
    if optimizer is None:
        return None, None
    import optax

    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params) if opt_state is None else opt_state
        updates, _ = optimizer.update(params_bar, state, params)
        moved = optax.apply_updates(params, updates)
    return updates, float(probes.mean_of(problem, moved, x, y, keys))


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
