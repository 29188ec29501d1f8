"""`check`: the five verdicts, what is said of a failure, and what the options do."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.checking import CheckFailedError, check

RNG = np.random.default_rng(0)
X, KERNEL, BIAS = (RNG.normal(size=s).astype(np.float32) for s in ((4, 3), (3, 2), (2,)))
FIRST = "SPRLF"  # no check that compiles much


def dense(backward):
    def primal(x, kernel, bias):
        return x @ kernel + bias

    f = jax.custom_vjp(primal)
    f.defvjp(lambda x, kernel, bias: (primal(x, kernel, bias), (x, kernel)), lambda kept, g: backward(*kept, g))
    return f


def unary(primal, backward):
    f = jax.custom_vjp(primal)
    f.defvjp(lambda x: (primal(x), x), lambda x, g: (backward(x, g),))
    return f


def right(x, kernel, g):
    return g @ kernel.T, x.T @ g, g.sum(0)


def test_right():
    report = check(dense(right), X, KERNEL, BIAS)
    assert report.verdict == "right", report
    assert report.ok
    assert not report.failures
    assert report.raise_if_failed() is report
    assert "right" in str(report)
    assert {line.status for line in report.checks} == {"passed"}


def test_wrong():
    report = check(dense(lambda x, k, g: (g @ k.T, x.T @ g / 4, g.sum(0))), X, KERNEL, BIAS, checks=FIRST, name="mean")
    (failure,) = (f for f in report.failures if f.check == "R")
    assert report.verdict == "wrong"
    assert failure.argument == "kernel"
    assert (failure.wrong, failure.size) == (6, 6)
    assert failure.rule == pytest.approx(failure.reference / 4, rel=1e-5)
    assert failure.differences == pytest.approx(failure.reference, rel=1e-5)
    assert failure.multiple > 1000
    assert failure.diagnosis == "is the reference divided by 4 (the batch size)"
    with pytest.raises(CheckFailedError, match="the batch size"):
        report.raise_if_failed()


def test_reference_is_wrong():
    report = check(
        unary(jnp.sin, lambda x, g: g * jnp.cos(x)),
        X,
        reference=lambda x: jnp.sin(jax.lax.stop_gradient(x)),
        checks=FIRST,
    )
    assert report.verdict == "reference is wrong", report
    assert not report.ok


def test_another_function_as_reference():
    report = check(
        unary(jnp.sin, lambda x, g: g * jnp.cos(x)), X, reference=lambda x: jnp.sin(x) + 1e-3 * x, checks=FIRST
    )
    assert report.verdict == "reference is wrong", report
    assert "P" in {f.check for f in report.failures}


def test_convention():
    steep = unary(lambda x: jnp.maximum(x, 0), lambda x, g: jnp.where(x >= 0, g, 0))
    at = np.array([0.0, 1.0, -1.0, 0.0], np.float32)
    report = check(steep, at, reference=jax.nn.relu, checks=FIRST)
    assert report.verdict == "convention differs", report
    assert report.ok
    assert "the slope from the right" in report.conventions[0]
    assert check(steep, at, reference=jax.nn.relu, checks=FIRST, ties="reference").verdict == "wrong"


def test_at_a_kink_not_everything_passes():
    report = check(
        unary(lambda x: jnp.maximum(x, 0), lambda x, g: jnp.where(x == 0, 2 * g, jnp.where(x > 0, g, 0))),
        X,
        checks="RE",
    )
    assert report.verdict == "wrong", report
    assert {f.check for f in report.failures} == {"E"}


def test_tied_entries_have_to_add_up():
    every = unary(lambda x: x.max(), lambda x, g: jnp.where(x == x.max(), g, 0))
    report = check(every, X, checks="RE")
    assert any("together they do not" in f.diagnosis for f in report.failures), report


def test_inconclusive():
    def chaos(x):
        for _ in range(60):
            x = 3.99 * x * (1 - x)
        return x

    report = check(
        unary(chaos, lambda x, g: jax.vjp(chaos, x)[1](g)[0]), np.array([0.3, 0.6], np.float32), checks=FIRST
    )
    assert report.verdict == "inconclusive", report


def test_waiver():
    reverse = unary(lambda x: x * 1, lambda x, g: -g)
    report = check(reverse, X, checks=FIRST, waive={"R": "a reversal layer", "finite differences": "the same"})
    assert report.verdict == "right"
    assert len(report.waived) == 2
    assert "a reversal layer" in str(report)
    with pytest.raises(ValueError, match="must give a reason"):
        check(reverse, X, waive={"R": " "})


def test_straight_through_reference():
    through = unary(lambda x: jnp.round(x), lambda x, g: g)
    report = check(through, X, reference=lambda x: x + jax.lax.stop_gradient(jnp.round(x) - x), checks=FIRST)
    assert report.verdict == "right", report
    assert any("stop_gradient" in note for note in report.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checks": "Q"}, "checks has 'Q'"),
        ({"ties": "first"}, "ties"),
        ({"mapped": "y"}, "mapped names"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        check(unary(jnp.sin, lambda x, g: g * jnp.cos(x)), X, **options)


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="must be a function with a custom backward"):
        check(3, X)
    with pytest.raises(TypeError, match="is not an array"):
        check(dense(right), X, KERNEL, "bias")
    with pytest.raises(TypeError, match=r"check: f \(=\[1.0, 2.0\]\) must be .* f comes first, its example arguments"):
        check([1.0, 2.0])
    with pytest.raises(TypeError, match=r"check: f \(an array of shape \(4, 3\)\) must be a function"):
        check(X, jnp.sin)
    with pytest.raises(
        TypeError, match=r"primal needs an example of x, kernel, bias; write check\(primal, x, kernel, bias\) with"
    ):
        check(dense(right))
    with pytest.raises(TypeError, match=r"f needs an example of b; write check\(f, a, b\) with the arrays"):
        check(lambda a, b: a * b, X)
    with pytest.raises(TypeError, match=r"an example of k; write check\(\(forward, backward\), x, k\)"):
        check((lambda x, k: (x @ k, (x, k)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g)), X)
    with pytest.raises(ValueError, match="no floating argument"):
        check(unary(lambda i: i, lambda i, g: None), np.arange(3))


@pytest.mark.parametrize("transformation", [jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())])
def test_under_a_transformation_there_are_no_numbers(transformation):
    with pytest.raises(TypeError, match="where arrays have no numbers to compare"):
        transformation(lambda x: check(unary(jnp.sin, lambda x, g: g * jnp.cos(x)), x).ok)(X)


def test_a_list_of_numbers_is_no_array():
    with pytest.raises(TypeError) as raised:
        check(lambda x: x / 2, [1.0, 2.0])
    assert "write jnp.array([...]) for an array" in raised.value.__notes__[-1]


@pytest.mark.parametrize(
    ("backward", "said"),
    [
        (
            lambda x, k, g: (g @ k.T, x.T @ g, g),
            "S structure: bias: has shape (4, 2); bias has (2,): the sum over axis 0 is",
        ),
        (lambda x, k, g: (g @ k.T, x.T @ g, g[0]), "alone: the sum over axis 0 is missing"),
        (lambda x, k, g: (g @ k.T, x.T @ g, g.sum()), "has shape (); bias has (2,): a sum over axis 0 is too much"),
        (lambda x, k, g: (g @ k.T, g.T @ x, g.sum(0)), "kernel has (3, 2): its axes are in another order"),
        (lambda x, k, g: (g @ k.T, (x.T @ g).at[[0, 1, 2], [0, 1, 0]].mul(3), g.sum(0)), "times 3 at 3 of 6 entries"),
        (
            lambda x, k, g: (g @ k.T * jnp.array([3, 1, 1], g.dtype), x.T @ g, g.sum(0)),
            "of axis 1: there it is the reference times 3",
        ),
    ],
)
def test_missing_sums_and_factors_are_named(backward, said):
    assert said in str(check(dense(backward), X, KERNEL, BIAS, checks="SPR"))


def test_a_report_leads_with_the_first_cause():
    report = check(unary(jnp.sin, lambda x, g: jnp.cos(x)), X, checks=FIRST)
    assert [failure.check for failure in report.failures] == ["R", "L", "F"]
    first, *others = (line.strip() for line in str(report).splitlines()[3:])
    assert first.startswith("R reference: x: is the reference for a cotangent of ones")
    assert [line[:20] for line in others if line.startswith("also")] == ["also in L linearity:", "also in F finite dif"]
    unlike = check(unary(jnp.sin, lambda x, g: jnp.cosh(g)), X, checks=FIRST)
    lines = str(unlike).splitlines()
    assert lines[3].strip().startswith("L linearity: x: is not linear")
    assert sum("also in R reference: is like no simple change" in line for line in lines) == 1


def test_checks_have_their_names():
    report = check(dense(right), X, KERNEL, BIAS, checks="SP")
    assert "; passed: S structure, P primal; " in str(report)


def test_json_is_complete():
    report = check(dense(lambda x, k, g: (g @ k.T * jnp.nan, x.T @ g, g.sum(0))), X, KERNEL, BIAS, checks=FIRST)
    content = json.loads(report.to_json())
    assert content["verdict"] == "wrong"
    assert content["failures"][0]["rule"] == "nan"
    assert [c["check"] for c in content["checks"]] == list(FIRST)


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    report = check(dense(lambda x, k, g: (-g @ k.T, x.T @ g, g.sum(0))), X, KERNEL, BIAS, checks=FIRST)
    report.plot(tmp_path / "wrong.png")
    assert (tmp_path / "wrong.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="no wrong cotangent"):
        check(dense(right), X, KERNEL, BIAS, checks="R").plot(tmp_path / "right.png")


def test_seeds_repeat():
    wrong = dense(lambda x, k, g: (g @ k.T, 1.1 * x.T @ g, g.sum(0)))
    first, again, other = (check(wrong, X, KERNEL, BIAS, checks="R", seed=s).failures[0].rule for s in (0, 0, 1))
    assert first == again != other


def test_settings_are_restored():
    before = jax.config.jax_enable_x64
    check(dense(right), X, KERNEL, BIAS, checks="RF")
    assert jax.config.jax_enable_x64 == before


def test_of_a_public_function():
    assert check(fnnet.dense, X, KERNEL, BIAS, checks=FIRST).verdict == "right"


def test_nine_right_digits_are_no_failure():
    """A softmax that adds a little to its sum, say, and forgets it in the backward."""
    near = unary(jnp.sin, lambda x, g: g * jnp.cos(x) * (1 + 1e-10))
    assert check(near, X, checks="RFB").verdict == "right"
    assert check(unary(jnp.sin, lambda x, g: g * jnp.cos(x) * (1 + 1e-6)), X, checks="RFB").verdict == "wrong"


def test_rule_that_is_better_than_autodiff_of_an_approximation():
    """To a billionth of its size: what the primal computes is the function itself, and its derivative is not."""

    def primal(x):
        return jnp.sin(x) + 4e-13 * jnp.sin(1e4 * x)

    report = check(unary(primal, lambda x, g: g * jnp.cos(x)), X, checks="D")
    assert report.verdict == "right", report
    assert any("cannot tell the two apart" in note for note in report.notes)
    coarse = unary(jnp.sin, lambda x, g: g * jnp.cos(x) * (1 + 4e-9 * jnp.sign(x)))
    assert check(coarse, X, reference=jnp.sin, checks="D").verdict == "wrong"
