"""What the functions of a rule may take and return: integers, None, pytrees, static values, several outputs."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fnnet
from fnnet.core.registration import rule_of

X = jnp.array([[1.0, 5.0, 2.0], [4.0, -3.0, 0.0], [0.5, 0.25, 2.5]])


def scaled_fwd(x, *, factors, offset=0.0):
    seen.append(factors)
    return x * factors[0] + offset, None


def scaled_bwd(_, y_bar, *, factors, offset):
    return (y_bar * factors[0],)


seen: list = []
scaled = fnnet.rule(scaled_fwd, scaled_bwd, batched=("x",))


def row_fwd(table, index):
    return table[index], (table, index)


def row_bwd(residuals, y_bar):
    table, index = residuals
    return jnp.zeros_like(table).at[index].add(y_bar), None


row = fnnet.rule(row_fwd, row_bwd)


def top_fwd(x):
    y = {"top": x.max(-1), "at": jnp.argmax(x, -1)}
    return y, (x, y["at"])


def top_bwd(residuals, y_bar):
    x, at = residuals
    return (jnp.where(jnp.arange(x.shape[-1]) == at[..., None], y_bar["top"][..., None], 0),)


top = fnnet.rule(top_fwd, top_bwd, batched=("x",))
TOPS = [pytest.param(top, id="batched"), pytest.param(fnnet.rule(top_fwd, top_bwd), id="example by example")]


def test_static_lists_become_tuples():
    seen.clear()
    assert jax.grad(lambda x: scaled(x, factors=[2.0, [3, 4]], offset=1.0))(5.0) == 2
    assert seen[0] == (2.0, (3, 4))


def test_static_values_have_defaults_and_are_kept_apart():
    assert [float(scaled(1.0, factors=(f,))) for f in (2.0, 3.0, 2.0)] == [2, 3, 2]
    assert [float(scaled(1.0, factors=(2,), offset=o)) for o in (1.0, 2.0)] == [3, 4]


def test_a_numpy_number_is_a_static_value():
    assert float(scaled(1.0, factors=(1,), offset=np.float32(2))) == 3


@pytest.mark.parametrize("array", [np.ones(2), jnp.ones(2)], ids=["numpy", "jax"])
def test_static_arrays_are_refused(array):
    with pytest.raises(TypeError, match="rule scaled: the static argument factors is an array"):
        scaled(1.0, factors=array)
    with pytest.raises(TypeError, match="rule scaled: the static argument factors is an array"):
        jax.jit(lambda a: scaled(1.0, factors=a))(array)


def test_static_values_must_be_hashable():
    with pytest.raises(TypeError, match=r"rule scaled: the static argument offset \(=\{\}\) must be hashable"):
        scaled(1.0, factors=(1,), offset={})


def test_arrays_by_keyword():
    assert float(row(index=1, table=X)[0]) == 4


def test_a_cotangent_that_is_a_numpy_array():
    def total_fwd(x):
        return x + 1, None

    def total_bwd(_, y_bar):
        return (y_bar.sum(range(0)),)  # a JAX array's sum takes any sequence of axes, NumPy's a tuple

    _, pull = jax.vjp(fnnet.rule(total_fwd, total_bwd), X)
    np.testing.assert_array_equal(pull(np.full(X.shape, 3, np.float32))[0], 3)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_integer_arguments(wrap):
    table_bar, index_bar = wrap(jax.grad(lambda t, i: row(t, i) @ jnp.array([1.0, 2, 3]), (0, 1), allow_int=True))(X, 1)
    np.testing.assert_array_equal(table_bar, [[0, 0, 0], [1, 2, 3], [0, 0, 0]])
    assert index_bar.dtype == jax.dtypes.float0

    indices = jnp.array([0, 2, 2])
    summed = wrap(jax.grad(lambda t: jax.vmap(row, (None, 0))(t, indices).sum()))(X)
    np.testing.assert_array_equal(summed, [[1, 1, 1], [0, 0, 0], [2, 2, 2]])
    each = wrap(jax.vmap(jax.grad(lambda t, i: row(t, i).sum()), (None, 0)))(X, indices)
    np.testing.assert_array_equal(each.sum(0), summed)


@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_several_outputs_one_of_them_an_integer(wrap, top):
    assert wrap(top)(X[0])["at"] == 1
    assert wrap(jax.vmap(top))(X)["at"].tolist() == [1, 0, 2]
    bar = wrap(jax.grad(lambda x: (jnp.array([1.0, 2, 3]) * jax.vmap(top)(x)["top"]).sum()))(X)
    np.testing.assert_array_equal(bar, [[0, 1, 0], [2, 0, 0], [0, 0, 3]])
    hessian = wrap(jax.hessian(lambda x: (jax.vmap(top)(x)["top"] ** 2).sum()))(X)
    np.testing.assert_array_equal(hessian.sum((2, 3)), 2 * jax.nn.one_hot(jnp.array([1, 0, 2]), 3))


def test_unused_outputs_have_zero_cotangents():
    def both_fwd(x):
        return (2 * x, 3 * x), None

    def both_bwd(_, y_bar):
        return (2 * y_bar[0] + 3 * y_bar[1],)

    both = fnnet.rule(both_fwd, both_bwd, batched=("x",))
    assert [float(jax.grad(lambda x, i=i: both(x)[i])(1.0)) for i in (0, 1)] == [2, 3]


def test_pytrees_as_arguments_and_output():
    def layers_fwd(params, x, mask):
        y = x * params["scale"] + params["shifts"][0]
        return {"y": y, "masked": (jnp.where(mask, y, 0),)}, (params, x, mask)

    def layers_bwd(residuals, y_bar):
        params, x, mask = residuals
        bar = y_bar["y"] + jnp.where(mask, y_bar["masked"][0], 0)
        return {"scale": (bar * x).sum(), "shifts": [bar.sum(), None]}, bar * params["scale"], None

    def plain(params, x, mask):
        return layers_fwd(params, x, mask)[0]

    layers = fnnet.rule(layers_fwd, layers_bwd, batched=("x", "mask"))
    params = {"scale": jnp.array(2.0), "shifts": [jnp.array(3.0), None]}
    mask = X > 1

    def loss(f):
        def of(params, xs):
            out = jax.vmap(f, (None, 0, 0))(params, xs, mask)
            return jnp.sum(jnp.sin(out["y"]) + out["masked"][0] ** 2)

        return jax.grad(of, (0, 1))(params, X)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), loss(layers), loss(plain))


def test_an_argument_that_is_none():
    def shifted_fwd(x, shift=None):
        return (x if shift is None else x + shift), None

    def shifted_bwd(_, y_bar):
        return y_bar, y_bar.sum()  # for an argument that is None, whatever: it is not used

    shifted = fnnet.rule(shifted_fwd, shifted_bwd, batched=("x",))
    assert jax.grad(lambda x: shifted(x).sum())(X).tolist() == np.ones((3, 3)).tolist()
    assert jax.grad(lambda s: jax.vmap(shifted, (0, None))(X, s).sum())(1.0) == 9
    assert float(shifted(1.0, 2.0)) == 3


def test_none_inside_an_argument():
    def layer_fwd(params, x):
        return x * params["scale"], (params["scale"], x)

    def layer_bwd(residuals, y_bar):
        scale, x = residuals
        return {"scale": (y_bar * x).sum(), "bias": y_bar.sum()}, y_bar * scale  # the bias is None: not used

    layer = fnnet.rule(layer_fwd, layer_bwd, batched=("x",))
    assert jax.grad(lambda p: layer(p, X).sum())({"scale": 2.0, "bias": None}) == {"scale": X.sum(), "bias": None}


def test_outputs_whose_structure_hangs_on_the_rank():
    def split_fwd(x):
        return ({"one": x} if x.ndim == 1 else (x, 2 * x)), None

    def split_bwd(_, y_bar):
        return (y_bar["one"] if isinstance(y_bar, dict) else y_bar[0] + 2 * y_bar[1],)

    split = fnnet.rule(split_fwd, split_bwd)
    for _ in range(2):
        assert set(split(X[0])) == {"one"}
        assert len(split(X)) == 2
        assert jax.grad(lambda x: split(x)["one"].sum())(X[0]).tolist() == [1, 1, 1]
        assert jax.grad(lambda x: split(x)[1].sum())(X[:1]).tolist() == [[2, 2, 2]]


def test_a_cotangent_that_hangs_on_nothing_batched_is_summed_over_the_batch():
    def total_fwd(x, w):
        return x + w.sum(), w

    def total_bwd(w, y_bar):
        return y_bar, jnp.ones_like(w)  # right where y_bar is 1; under vmap, custom_vjp alone forgets to sum it

    for wrap in (lambda f: f, jax.jit):
        gradient = wrap(jax.grad(lambda w: jax.vmap(fnnet.rule(total_fwd, total_bwd), (0, None))(jnp.ones(4), w).sum()))
        assert gradient(jnp.ones(2)).tolist() == [4, 4]


@pytest.mark.parametrize("batched", [(), ("x",)], ids=["example by example", "batched"])
def test_an_output_that_the_batch_shares(batched):
    def shared_fwd(x, w):
        return (x * w.sum(), jnp.broadcast_to((w**2).sum(), x.shape)), (x, w)

    def shared_bwd(residuals, y_bar):
        x, w = residuals
        return y_bar[0] * w.sum(), (y_bar[0] * x).sum() + 2 * w * y_bar[1].sum()

    def gradient(f):
        return jax.grad(lambda w: sum((jnp.arange(4.0) * o).sum() for o in jax.vmap(f, (0, None))(jnp.ones(4), w)))

    w = jnp.array([1.0, 2.0])
    shared = fnnet.rule(shared_fwd, shared_bwd, batched=batched)
    ours, expected = (gradient(f)(w) for f in (shared, lambda x, w: shared_fwd(x, w)[0]))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_rules_inside_rules_and_inside_custom_derivatives():
    def twice_fwd(x):
        return scaled(scaled(x, factors=(2.0,)), factors=(3.0,)), None

    def twice_bwd(_, y_bar):
        return (6 * y_bar,)

    twice = fnnet.rule(twice_fwd, twice_bwd, batched=("x",))
    assert jax.grad(lambda x: jax.vmap(twice)(x).sum())(X[0]).tolist() == [6, 6, 6]

    @jax.custom_jvp
    def outer(x):
        return twice(x)

    outer.defjvp(lambda p, t: (outer(*p), 5 * t[0]))
    assert jax.grad(lambda x: jax.vmap(outer)(x).sum())(X[0]).tolist() == [5, 5, 5]
    assert jax.grad(lambda x: lax.map(twice, x).sum())(X[0]).tolist() == [6, 6, 6]


def shifted(x):
    return _shifted(x)


def shifted_fwd(x):
    return x + 1, None


_shifted = fnnet.rule(shifted_fwd, lambda _, y_bar: (y_bar,), gain=2.0, precise=True)


@functools.wraps(shifted)
def twice_shifted(x):
    return shifted(shifted(x))


def test_the_rule_of_a_function():
    assert rule_of(scaled) is rule_of(functools.partial(scaled, factors=(1,))) is scaled
    assert rule_of(shifted) is rule_of(functools.partial(shifted, 1.0)) is _shifted
    assert (_shifted.gain, _shifted.precise, scaled.gain, scaled.precise) == (2.0, True, 1.0, False)
    for other in (twice_shifted, jax.jit(shifted), jax.vmap(shifted), lambda x: shifted(x), jax.nn.relu, jnp.tanh, 3):
        assert rule_of(other) is None


def test_what_fnnets_rules_say_of_themselves():
    functions = [f for f in vars(fnnet).values() if getattr(f, "__module__", "").startswith("fnnet.rules.")]
    rules = {f.__name__: rule_of(f) for f in functions if f is not fnnet.max_pool_indices}
    assert [own.name for own in rules.values()] == list(rules)
    assert rules["relu"].gain == rules["leaky_relu"].gain == math.sqrt(2)
    assert rules["dense"].gain == rules["tanh"].gain == 1
    assert {name for name, own in rules.items() if own.precise} == {"softmax", "log_softmax"}


def test_name_and_documentation_are_the_forwards():
    assert scaled.__name__ == "scaled"
    assert repr(row) == "<rule row(table, index)>"
