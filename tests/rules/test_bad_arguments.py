"""Every bad argument that a proof names is an error of fnnet's own, which names the function and the argument."""

import dataclasses
import inspect
import itertools
import traceback
from pathlib import Path

import jax
import pytest

import fnnet
from fnnet.core.indices import OutsideError
from fnnet.proofs import own
from fnnet.proofs.proof import cast
from fnnet.proofs.refused import NOT_ARRAYS

PROOFS = own() | {"max_pool_indices": dataclasses.replace(own()["max_pool"], function=fnnet.max_pool_indices)}


def plain(function, x, keywords):
    function(x, **keywords)


def compiled(function, x, keywords):
    jax.jit(lambda x: function(x, **keywords))(x)


def differentiated(function, x, keywords):
    jax.grad(lambda x: function(x, **keywords).sum().astype(float))(x)


def mapped(function, x, keywords):
    jax.vmap(lambda x: function(x, **keywords))(x[None])


def bad_values(proof):
    """Each argument with each value that it must not have; arrays are no place for what is none."""
    parameters, arrays = inspect.signature(proof.function).parameters, proof.at_examples()[0].arrays
    for name in arrays:
        is_optional = parameters[name].default is None
        yield from ((name, value) for value in NOT_ARRAYS if not (is_optional and value is None))
    yield from ((name, value) for name, values in proof.refused.items() for value in values)


def complaint(proof, argument, value, run):
    """What is wrong with how the function refuses the value, or nothing."""
    case = proof.at_examples()[0]
    keywords = {**cast(case.arrays, "float32"), **case.configuration.static, argument: value}
    x = keywords.pop(next(iter(case.arrays)))
    try:
        run(proof.function, x, keywords)
    except Exception as error:
        message, innermost = str(error), Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        named = {"dilation": "dilat"}.get(argument, argument) in message
        own_error = (
            type(error) in (ValueError, TypeError, OutsideError) and Path(fnnet.__file__).parent in innermost.parents
        )
        if own_error and named and message.removeprefix("rule ").startswith(f"{proof.name}: "):
            return ""
        return f"{type(error).__name__} at {innermost}: {message}"
    return "is accepted"


@pytest.mark.parametrize("proof", PROOFS.values(), ids=list(PROOFS))
def test_a_bad_argument_is_named(proof, unchecked_shapes):
    ways = itertools.cycle([plain, compiled, differentiated, mapped])
    complaints = []
    for argument, value in bad_values(proof):
        # JAX's transformations would refuse what is no array before fnnet sees it.
        run = plain if argument in proof.at_examples()[0].arrays else next(ways)
        told = complaint(proof, argument, value, run)
        complaints += [f"{argument}={value!r}, {run.__name__}: {told}"] if told else []
    assert not complaints, "\n".join(complaints)


def test_a_value_that_is_accepted_is_seen(unchecked_shapes):
    assert complaint(own()["max_pool"], "window", 3, plain) == "is accepted"
    careless = dataclasses.replace(own()["max_pool"], function=lambda x, window: x[window])
    assert complaint(careless, "window", (7, 7), plain).startswith("IndexError")
