"""`fnnet.lstm` and `fnnet.gru` against PyTorch's modules, in double precision: values and every gradient.

10 drawn configurations of each: with and without biases, one direction or both, sequences of one length or packed.
python -m pytest -m slow tests/external/test_recurrent_torch.py draws 200.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.checking.contract import compare

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
TOLERANCE = 1e-12


class Drawn(NamedTuple):
    module: Any
    xs: np.ndarray
    states: tuple[np.ndarray, ...]  # (directions, batch, hidden), or none
    lengths: np.ndarray | None
    cotangents: tuple[np.ndarray, ...]  # of the outputs and the final states


def drawn(kind: str, number: int) -> Drawn:
    rng = np.random.default_rng(number)
    batch, time, features, hidden = (int(n) for n in rng.integers(1, (5, 8, 5, 6)))
    bias, both, packed, given = (bool(flag) for flag in rng.integers(0, 2, 4))
    torch.manual_seed(number)
    module = getattr(torch.nn, kind.upper())(
        features, hidden, bias=bias, bidirectional=both, batch_first=True, dtype=torch.float64
    )
    state = 1 + both, batch, hidden
    kinds = ("h", "c") if kind == "lstm" else ("h",)
    lengths = rng.integers(1, time + 1, batch) if packed else None
    return Drawn(
        module,
        rng.normal(size=(batch, time, features)),
        tuple(rng.normal(size=state) for _ in kinds) if given else (),
        lengths,
        (rng.normal(size=(batch, time, (1 + both) * hidden)), *(rng.normal(size=state) for _ in kinds)),
    )


def by_torch(case: Drawn) -> tuple[list, dict[str, Any]]:
    """The outputs and final states, and the gradient of every parameter, state and of xs."""
    module, rnn = case.module, torch.nn.utils.rnn
    xs, *states = (torch.tensor(array, requires_grad=True) for array in (case.xs, *case.states))
    given = xs
    if case.lengths is not None:
        given = rnn.pack_padded_sequence(xs, torch.tensor(case.lengths), batch_first=True, enforce_sorted=False)
    pair = None if not states else tuple(states) if len(states) > 1 else states[0]
    ys, last = module(given, pair)
    if case.lengths is not None:
        ys, _ = rnn.pad_packed_sequence(ys, batch_first=True, total_length=xs.shape[1])
    outputs = [ys, *(last if isinstance(last, tuple) else (last,))]
    of = {"xs": xs, **{f"state {i}": state for i, state in enumerate(states)}, **dict(module.named_parameters())}
    bars = torch.autograd.grad(outputs, list(of.values()), [torch.tensor(bar) for bar in case.cotangents])
    return [output.detach().numpy() for output in outputs], dict(zip(of, (bar.numpy() for bar in bars), strict=True))


def by_fnnet(kind: str, case: Drawn) -> tuple[list, dict[str, Any]]:
    parameters = {name: jnp.asarray(value.detach().numpy()) for name, value in case.module.named_parameters()}
    given = {"xs": jnp.asarray(case.xs), **{f"state {i}": jnp.asarray(state) for i, state in enumerate(case.states)}}

    def outputs(of: dict[str, Any]) -> list:
        ways = [way(kind, case, of, suffix) for suffix in ("", "_reverse")[: len(case.cotangents[1])]]
        ys, *states = zip(*ways, strict=True)
        return [jnp.concatenate(ys, -1), *(jnp.stack(state) for state in states)]

    @jax.jit
    def run(of: dict[str, Any], cotangents: list) -> tuple[list, dict[str, Any]]:
        found, pull = jax.vjp(outputs, of)
        return found, *pull(cotangents)

    return run({**given, **parameters}, [jnp.asarray(bar) for bar in case.cotangents])


def way(kind: str, case: Drawn, of: dict[str, Any], suffix: str) -> tuple:
    """The outputs and final states of one direction."""
    kernels = (of[f"weight_{part}_l0{suffix}"].T for part in ("ih", "hh"))
    biases = [of[f"bias_{part}_l0{suffix}"] for part in ("ih", "hh")] if case.module.bias else []
    reverse = suffix == "_reverse"
    states = tuple(of[f"state {i}"][int(reverse)] for i in range(len(case.states)))
    options: dict[str, Any] = {"lengths": case.lengths, "reverse": reverse}
    if kind == "gru":
        return fnnet.gru(of["xs"], *kernels, *biases or (None, None), initial_state=(*states, None)[0], **options)
    bias = sum(biases) if biases else None
    ys, last = fnnet.lstm(of["xs"], *kernels, bias, initial_state=states or None, **options)  # type: ignore[misc]
    return ys, *last


def agree(kind: str, numbers: range) -> None:
    for number in numbers:
        case = drawn(kind, number)
        with jax.enable_x64(True):
            outputs, bars = by_fnnet(kind, case)
            expected, expected_bars = by_torch(case)
            ours = {**bars, **{f"output {i}": output for i, output in enumerate(outputs)}}
            theirs = {**expected_bars, **{f"output {i}": output for i, output in enumerate(expected)}}
            assert ours.keys() == theirs.keys()
            for name, one in ours.items():
                assert not compare(f"case {number}: {name}", one, theirs[name], TOLERANCE)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_agrees(kind):
    agree(kind, range(10))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_agrees_at_length(kind):
    agree(kind, range(10, 210))
