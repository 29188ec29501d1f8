"""What JAX may make its default, and what a careful user turns on: .ci/run runs this file under each of its settings.

Every rule, a network under the transformations, `fit` and `check`. Slow, since without settings others show the same.
Strict dtype promotion is on in every test.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.ad_checkpoint import print_saved_residuals

import fnnet
from fnnet.checking import contract
from fnnet.checking.contract import compare
from fnnet.proofs import own

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
XS, LABELS = RNG.normal(size=(4, 5, 5, 2)), np.array([0, 2, 1, 2], np.int32)
KERNEL = RNG.normal(size=(50, 2))
PARAMS = {"conv": RNG.normal(size=(2, 2, 2, 2)), "dense": RNG.normal(size=(8, 3)), "bias": RNG.normal(size=3)}


@jax.custom_vjp
def product(x, kernel):
    """A custom_vjp function without fnnet: what JAX itself does under each setting."""
    return x @ kernel


def product_bwd(residuals, y_bar):
    x, kernel = residuals
    return y_bar @ kernel.T, x.T @ y_bar


product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), product_bwd)


def is_high(function, *args):
    """Whether JAX makes one of its hijax primitives of the function."""
    return jax.make_jaxpr(function)(*args).eqns[0].primitive.name == "call_hi_primitive"


def error_of(function):
    """What calling it says, or nothing."""
    try:
        function()
    except Exception as error:
        return str(error)
    return ""


def leak():
    leaked = []
    jax.jit(leaked.append)(1.0)
    return leaked


# Each setting, by the variable that turns it on, and what shows that it is on.
SETTINGS = {
    "JAX_CUSTOM_VJP3": lambda: is_high(product, np.eye(2), np.eye(2)),
    "JAX_REMAT3": lambda: is_high(jax.checkpoint(jnp.tanh), 1.0),
    "JAX_DEBUG_NANS": lambda: "nan" in error_of(lambda: jnp.log(-jnp.ones(()))),
    "JAX_CHECK_TRACER_LEAKS": lambda: "Leaked" in error_of(leak),
}


def assert_same(ours, expected):
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert compare("", a, b, 1e-12, rounding=1e-14) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_on_where_the_environment_says_so(name):
    """A JAX without the setting ignores the variable; .ci/run then says that."""
    asked = os.environ.get(name, "0") == "1"
    assert SETTINGS[name]() == (asked and hasattr(jax.config, name.lower()))


@pytest.mark.parametrize("proof", own().values(), ids=list(own()))
def test_values_and_gradients(proof, x64):
    """The rule outside jit: only there JAX_DEBUG_NANS sees the arrays inside forward and backward."""
    case = proof.tiny_case()
    y_bar = contract.cotangent(case, 0)
    of_rule, of_reference = (
        contract.pulled(proof, f, case.static, case.differentiated, "float64")
        for f in (proof.function, proof.reference)
    )
    assert_same(of_rule(case.arrays, y_bar), jax.jit(of_reference)(case.arrays, y_bar))


def loss_of(rules):
    """loss(params, x, label) of one example, by fnnet's rules, or by their references and autodiff."""
    conv, max_pool, avg_pool, dense, cross_entropy = (
        rules(name) for name in ("conv", "max_pool", "avg_pool", "dense", "softmax_cross_entropy")
    )

    def loss(params, x, label):
        y = max_pool(jnp.tanh(conv(x[None], params["conv"])), window=2, stride=1)
        y = avg_pool(y, window=2, stride=2).reshape(-1)
        return cross_entropy(dense(y, params["dense"], params["bias"]), label)

    return loss


def mean(loss):
    return lambda params: jax.vmap(loss, (None, 0, 0))(params, XS, LABELS).mean()


def scanned(loss):
    """The same mean, an example at a time, each recomputed in the backward."""
    step = jax.checkpoint(lambda params, total, example: total + loss(params, *example))
    return lambda params: lax.scan(lambda c, e: (step(params, c, e), None), 0.0, (XS, LABELS))[0] / len(XS)


def dots_saved(function):
    return jax.checkpoint(function, policy=jax.checkpoint_policies.dots_saveable)


FORMULAS = {
    "grad": lambda f: jax.grad(f)(PARAMS, XS[0], LABELS[0]),
    "vmap": lambda f: jax.vmap(f, (None, 0, 0))(PARAMS, XS, LABELS),
    "grad of vmap": lambda f: jax.value_and_grad(mean(f))(PARAMS),
    "vmap of grad": lambda f: jax.vmap(jax.grad(f), (None, 0, 0))(PARAMS, XS, LABELS),
    "scan of checkpoint": lambda f: jax.value_and_grad(scanned(f))(PARAMS),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(mean(f)))(PARAMS),
    "checkpoint, products saved": lambda f: jax.grad(dots_saved(mean(f)))(PARAMS),
    "vmap of grad of checkpoint": lambda f: jax.vmap(jax.grad(jax.checkpoint(f)), (None, 0, 0))(PARAMS, XS, LABELS),
    "hessian": lambda f: jax.hessian(lambda kernel: mean(f)(PARAMS | {"conv": kernel}))(PARAMS["conv"]),
    "checkpoint of hessian": lambda f: jax.grad(
        lambda bias: jax.checkpoint(jax.hessian(lambda b: mean(f)(PARAMS | {"bias": b})))(bias).sum()
    )(PARAMS["bias"]),
}


@pytest.mark.parametrize("formula", list(FORMULAS.values()), ids=list(FORMULAS))
def test_transformations(formula, x64):
    ours, expected = (
        jax.jit(lambda rules=rules: formula(loss_of(rules)))()
        for rules in (lambda name: getattr(fnnet, name), lambda name: own()[name].reference)
    )
    assert_same(ours, expected)


def test_hessian_of_checkpoint(x64):
    """What JAX can do of a custom_vjp function; jax 0.10.2 under JAX_REMAT3=1 asks for forward mode."""

    def hessian(layer):
        loss = jax.checkpoint(lambda kernel: jnp.tanh(layer(XS.reshape(4, -1), kernel)).sum())
        return jax.jit(jax.hessian(loss))(KERNEL)

    expected = hessian(jnp.matmul)
    try:
        hessian(product)
    except TypeError:
        with pytest.raises(TypeError, match="forward-mode"):
            hessian(fnnet.dense)
    else:
        assert_same(hessian(fnnet.dense), expected)


@pytest.mark.parametrize("policy", ["dots_saveable", "nothing_saveable"])
def test_checkpoint_policies_see_what_they_see_in_a_custom_vjp(policy, capsys):
    """Under JAX_REMAT3=1 on jax 0.10.2 that is nothing."""

    def saved(layer):
        loss = jax.checkpoint(
            lambda kernel, x: jnp.sum(jnp.tanh(layer(x, kernel)) ** 2), policy=getattr(jax.checkpoint_policies, policy)
        )
        print_saved_residuals(loss, KERNEL, XS.reshape(4, -1))
        return sorted(line.split()[0] for line in capsys.readouterr().out.splitlines())

    assert saved(fnnet.dense) == saved(product)


def test_fit():
    """By SGD: the arithmetic of optax.adam fails under strict promotion."""
    net = fnnet.Sequential(fnnet.Conv(4, 3), fnnet.relu, fnnet.MaxPool(2), fnnet.Flatten(), fnnet.Dense(3))
    xs = RNG.normal(size=(24, 6, 6, 1)).astype(np.float32)
    ys = (np.abs(xs).mean((1, 2, 3)) * 1e3).astype(np.int32) % 3
    optimizer = optax.sgd(0.1, momentum=0.9)
    _, history = fnnet.fit(
        net, fnnet.softmax_cross_entropy, optimizer, (xs, ys), key=jax.random.key(0), epochs=10, batch_size=8
    )
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_check():
    x, kernel = XS.reshape(4, -1).astype(np.float32), KERNEL.astype(np.float32)
    assert fnnet.check(fnnet.dense, x, kernel, checks="SPRLFVTE2").ok
    wrong = fnnet.rule(
        lambda x, kernel: (x @ kernel, (x, kernel)),
        lambda residuals, y_bar: (y_bar @ residuals[1].T, 1.01 * residuals[0].T @ y_bar),
    )
    assert not fnnet.check(wrong, x, kernel, checks="R").ok
