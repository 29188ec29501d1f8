"""Random sequences with kernels, initial states and lengths, and how a cell goes over them; for recurrent rules."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import LEADING, gaussian, held
from fnnet.proofs.proof import Arrays, Configuration
from fnnet.proofs.refused import FLAGS, NOT_FLOATING, ones

SEQUENCES = frozenset(
    {"0 leading axes", "1 leading axes", "2 leading axes", "empty leading axis", "1 step", "reverse", "lengths"}
    | {"initial state", "reverse and lengths", "1 feature", "1 unit"}
)


def plain_sequence(cell: Callable, params: Any, state: Any, xs: Any, lengths: Any, reverse: bool) -> Any:
    """The outputs and the last state of cell(params, state, x) -> (state, y), step by step, in a lax.scan.

    At a step that does not count the cell gets zeros alone, so that no NaN meets the 0 of a selection's derivative.
    """
    time = xs.shape[-2]
    order = jnp.array(range(time)[:: -1 if reverse else 1], jnp.int32)
    lengths = jnp.full(xs.shape[:-2], time, jnp.int32) if lengths is None else lengths.astype(jnp.int32)

    def of_one(state: Any, xs: Any, length: Any) -> Any:
        def step(state: Any, t: Any) -> Any:
            read = jax.tree.map(lambda a: jnp.where(t < length, a, 0), (params, state, xs[t]))
            new, y = cell(*read)
            return jax.tree.map(lambda n, o: jnp.where(t < length, n, o), new, state), jnp.where(t < length, y, 0)

        state, ys = jax.lax.scan(step, state, order)
        return ys[:: -1 if reverse else 1], state

    for _ in lengths.shape:
        of_one = jax.vmap(of_one)
    return of_one(state, xs, lengths)


def sequence(
    gates: int,
    static: Mapping[str, Any] | None = None,
    title: str = "",
    *,
    lead: Sequence[int] = (2,),
    time: int = 4,
    features: int = 3,
    hidden: int = 2,
    states: Sequence[str] = (),
    lengths: bool = False,
    bias: bool = False,
    recurrent_bias: bool = False,
) -> Configuration:
    """A configuration of these sizes, with these states and biases."""

    biases = {"bias": bias, "recurrent_bias": recurrent_bias}

    def arrays(rng: np.random.Generator) -> Arrays:
        drawn: Arrays = {"xs": gaussian(*lead, time, features)(rng)}
        drawn["input_kernel"] = gaussian(features, gates * hidden)(rng)
        drawn["recurrent_kernel"] = gaussian(hidden, gates * hidden)(rng)
        drawn |= {name: gaussian(gates * hidden)(rng) for name, there in biases.items() if there}
        drawn |= {name: gaussian(*lead, hidden)(rng) for name in states}
        if lengths:
            drawn["lengths"] = rng.integers(0, time + 1, tuple(lead)).astype(np.int32)
        return drawn

    return Configuration(arrays, static or {}, title)


def drawn_sequence(rng: np.random.Generator, gates: int, biases: Sequence[str], states: Sequence[str]) -> Configuration:
    """Few steps, features and units, with and without each of the rest."""
    lead = LEADING[rng.integers(len(LEADING))]
    time, features, hidden = (int(rng.choice(sizes)) for sizes in ((1, 3, 5), (1, 3), (1, 2)))
    given, has_lengths, reverse = rng.random(3) < 0.5
    present = {name: bool(rng.random() < 0.6) for name in biases}
    made = sequence(
        gates,
        {"reverse": bool(reverse)},
        lead=lead,
        time=time,
        features=features,
        hidden=hidden,
        states=states if given else (),
        lengths=bool(has_lengths),
        bias=present.get("bias", False),
        recurrent_bias=present.get("recurrent_bias", False),
    )
    features_shown = {f"{min(len(lead), 2)} leading axes"} | held(present)
    features_shown |= held(
        {
            "empty leading axis": 0 in lead,
            "1 step": time == 1,
            "1 feature": features == 1,
            "1 unit": hidden == 1,
            "reverse": reverse,
            "lengths": has_lengths,
            "reverse and lengths": reverse and has_lengths,
            "initial state": given,
        }
    )
    return Configuration(made.arrays, made.static, features=frozenset(features_shown))


def refused(gates: int) -> dict[str, tuple]:
    """What a recurrent rule refuses at `sequence(gates)`: xs (2, 4, 3) and 2 units."""
    wrong = np.ones(2, np.float32), np.ones(3, np.int32), np.ones((), np.int32), np.ones((2, 4), np.int32)
    return {
        "xs": (*NOT_FLOATING, *ones((), (3,), (2, 4, 2), (2, 0, 3))),
        "input_kernel": (*NOT_FLOATING, *ones((), (3,), (2, 2 * gates), (3, gates), (1, 3, 2 * gates))),
        "recurrent_kernel": (*NOT_FLOATING, *ones((), (2,), (2, gates), (3, 2 * gates), (0, 0), (1, gates))),
        "bias": (*NOT_FLOATING, *ones((), (1,), (2,), (2, 2 * gates))),
        "lengths": ("x", object(), *wrong),
        "reverse": FLAGS,
    }
