"""`check` takes every form of rule, and arguments of every form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.checking import check

X = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
FIRST = "SPRLF"


def scaled_fwd(x, w, *, power):
    return {"y": x * w["a"] ** power, "n": jnp.arange(3)}, (x, w)


def scaled_bwd(kept, bar, *, power):
    x, w = kept
    return bar["y"] * w["a"] ** power, {"a": (bar["y"] * x).sum() * power * w["a"] ** (power - 1), "unused": None}


W = {"a": np.float32(1.5), "unused": None}


def custom():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def scaled(x, w, power):
        return x * w["a"] ** power

    scaled.defvjp(
        lambda x, w, power: (scaled(x, w, power), (x, w)),
        lambda power, kept, bar: scaled_bwd(kept, {"y": bar}, power=power),
    )
    return scaled


SUBJECTS = {
    "rule": lambda: check(fnnet.rule(scaled_fwd, scaled_bwd), X, W, static={"power": 3}, checks=FIRST),
    "pair": lambda: check((scaled_fwd, scaled_bwd), X, W, static={"power": 3}, checks=FIRST),
    "custom_vjp": lambda: check(custom(), X, W, 3, checks=FIRST),
    "custom_vjp, static by name": lambda: check(custom(), X, W, static={"power": 3}, checks=FIRST),
    "jitted": lambda: check(jax.jit(custom(), static_argnums=2), X, W, 3, checks=FIRST),
    "function": lambda: check(lambda x, w: jnp.sin(custom()(x, w, 3)), X, W, checks=FIRST),
    "partial": lambda: check(functools.partial(custom(), power=3), X, W, checks=FIRST),
    "reference with static values": lambda: check(
        custom(), X, W, 3, reference=lambda x, w, power: x * w["a"] ** power, checks=FIRST
    ),
    "public function": lambda: check(fnnet.softmax, X, static={"axis": 0}, checks=FIRST),
    "integer labels": lambda: check(fnnet.softmax_cross_entropy, X, np.array([0, 3, 1]), checks=FIRST),
    "custom_jvp": lambda: check(jax.nn.relu, X, checks=FIRST),
    "random key": lambda: check(
        lambda x, key: fnnet.relu(x) * jax.random.bernoulli(key, 0.5, x.shape).astype(x.dtype),
        X,
        jax.random.key(0),
        checks="RF",
    ),
    "scalar": lambda: check(fnnet.tanh, 0.3, checks=FIRST),
    "complex": lambda: check(
        (lambda z: (z * z, z), lambda z, bar: (2 * z * bar,)), (X + 1j * X[::-1]).astype(np.complex64), checks=FIRST
    ),
}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_subject(subject):
    report = SUBJECTS[subject]()
    assert report.verdict == "right", report
    assert "R" in {line.check for line in report.checks if line.status == "passed"}


def test_function_with_a_wrong_rule_inside():
    broken = jax.custom_vjp(lambda x: jnp.tanh(x))
    broken.defvjp(lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, g: (g * (1 - y),))

    def looped(x):
        return jax.lax.scan(lambda c, _: (jax.jit(broken)(c), None), x, None, length=2)[0]

    report = check(looped, X, checks=FIRST)
    assert report.verdict == "wrong", report
    assert {f.check for f in report.failures} == {"R", "F"}


def test_without_a_reference_finite_differences_decide():
    def called(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="broadcast_all")

    def rule(sign):
        f = jax.custom_vjp(called)
        f.defvjp(lambda x: (called(x), x), lambda x, g: (sign * g * jnp.cos(x),))
        return f

    good, bad = (check(rule(sign), X, checks="SPRLFXM") for sign in (1, -1))
    assert good.verdict == "right", good
    assert "R" in good.not_run
    assert [f.check for f in bad.failures] == ["F"]


def test_function_without_a_backward_of_its_own():
    """Only finite differences are independent of it, and the report says so."""
    alone, with_rule = (check(f, X, checks="RF") for f in (lambda x: jnp.sin(x), lambda x: fnnet.tanh(x)))
    assert alone.verdict == with_rule.verdict == "right"
    assert any("is its own reference" in note for note in alone.notes)
    assert not any("is its own reference" in note for note in with_rule.notes)


def in_f32(x):
    return x.astype(np.float32)


def test_rule_that_computes_in_single_precision():
    """In f64 too: it is judged in the dtype of the example, where it is right; and not where it is wrong."""

    def narrow(factor):
        f = jax.custom_vjp(lambda x: jnp.sin(in_f32(x)).astype(x.dtype))
        f.defvjp(
            lambda x: (f(x), x),
            lambda x, g: ((factor * in_f32(g) * jnp.cos(in_f32(x))).astype(g.dtype),),
        )
        return f

    report = check(narrow(1), X, reference=jnp.sin, checks="PRLFVED")
    assert report.verdict == "right", report
    assert any("single precision" in note for note in report.notes)
    assert check(narrow(1.01), X, reference=jnp.sin, checks="RF").verdict == "wrong"
    alone = check(narrow(1), X, checks="PRLFVTED2")
    assert alone.verdict == "right", alone
    assert any("single precision" in note for note in alone.notes)
    assert check(narrow(1.01), X, checks="F").verdict == "wrong"


def test_gradient_that_is_too_coarse_for_differences_in_double_precision():
    """Its value is f32 whatever it is given, and its gradient a staircase of which small steps see no rise."""
    f = (
        lambda x: (jax.lax.while_loop(lambda y: y.sum() > 1e9, jnp.sin, in_f32(x) * (1 + 2e-9 * in_f32(x))), x),
        lambda x, g: ((g * (1 + 4e-9 * in_f32(x))).astype(x.dtype),),
    )
    report = check(f, X, checks="F2")
    assert report.verdict == "right", report


def test_scalar_of_which_nothing_can_be_told():
    """Where terms cancel so far that half an ulp changes all of a gradient of no axes."""
    x = np.array([1e4, -1e4, 1e-4], np.float32)
    f = (lambda x, s: (s * x.sum(), (x, s)), lambda kept, g: (jnp.broadcast_to(g * kept[1], (3,)), g * kept[0].sum()))
    assert check(f, x, np.float32(2), checks="RE").ok


def test_rule_that_double_precision_breaks():
    """A state in f32 whatever the input: neither a reference nor steps in f64 are to be had."""

    def looped(x):
        return jax.lax.scan(lambda h, _: (jnp.tanh(h + x), None), jnp.zeros(4, np.float32), None, length=3)[0]

    f = jax.custom_vjp(looped)
    f.defvjp(lambda x: (looped(x), x), lambda x, g: jax.vjp(looped, x)[1](g))
    report = check(f, X[0], checks=FIRST)
    assert report.ok or report.verdict == "inconclusive", report
    wrong = jax.custom_vjp(looped)
    wrong.defvjp(lambda x: (looped(x), x), lambda x, g: jax.vjp(looped, x)[1](2 * g))
    assert check(wrong, X[0], checks=FIRST).verdict == "wrong"


def test_gradient_of_nothing_but_rounding_is_linear():
    """That of a bias that softmax takes out again."""
    f = lambda x, b: jax.nn.softmax(x + b.sum()) @ jnp.arange(4.0, dtype=x.dtype)  # noqa: E731
    assert check(f, X, X[0], checks="L").verdict == "right"


def test_conjugated_cotangent():
    """As PyTorch has it: the transposed map of the conjugated arguments."""
    z = (X + 1j * X[::-1]).astype(np.complex64)
    f = (lambda z: (z * z, z), lambda z, bar: (2 * jnp.conj(z) * bar,))
    (failure,) = check(f, z, checks="R").failures
    assert "with all arguments conjugated" in str(failure)


def test_what_a_wrapper_says_of_itself_is_not_believed():
    """`functools.update_wrapper` writes `__wrapped__`, also over that of a jitted function."""
    wrong = jax.custom_vjp(lambda x: x * x)
    wrong.defvjp(lambda x: (x * x, x), lambda x, g: (x * g,))
    right = jax.custom_vjp(lambda x: x * x)
    right.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))
    assert check(functools.update_wrapper(jax.jit(wrong), right), X, checks=FIRST).verdict == "wrong"
    assert check(functools.update_wrapper(jax.jit(right), wrong), X, checks=FIRST).verdict == "right"


def test_static_values_by_name_leave_their_places_to_the_arrays():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def power(n, x):
        return x**n

    power.defvjp(lambda n, x: (x**n, x), lambda n, x, g: (n * x ** (n - 1) * g,))
    for reference in (None, lambda n, x: x**n, lambda x, *, n: x**n):
        assert check(power, X, static={"n": 3}, reference=reference, checks=FIRST).verdict == "right"
    assert check(power, 3, X, checks=FIRST).verdict == "right"
    for args, static, said in (
        ((3, X), {"n": 3}, r"\(2 positional, static n\): too many positional arguments"),
        ((X,), {"m": 3}, r"\(1 positional, static m\): missing a required argument: 'x'"),
    ):
        with pytest.raises(TypeError, match=r"check: power\(n, x\) does not take these arguments " + said):
            check(power, *args, static=static)
    with pytest.raises(TypeError, match=r"power needs an example of x; write check\(power, x\)"):
        check(power, static={"n": 3})
