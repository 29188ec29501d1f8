"""What is left of a rule once it is compiled: one backward for the batch, matrix products alone, on any platform."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import print_saved_residuals

import fnnet

BATCH, INPUTS, OUTPUTS = 32, 7, 5
RNG = np.random.default_rng(1)
W = RNG.normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
B = RNG.normal(size=OUTPUTS).astype(np.float32)
XS = RNG.normal(size=(BATCH, INPUTS)).astype(np.float32)


def product(x, kernel, bias):
    return jnp.einsum("...i,io->...o", x, kernel) + bias


def per_example_product():
    """What fnnet.rule is there to avoid: the same backward, written for one example, through jax.custom_vjp alone."""
    layer = jax.custom_vjp(product)
    layer.defvjp(
        lambda x, kernel, bias: (product(x, kernel, bias), (x, kernel)),
        lambda residuals, y_bar: (y_bar @ residuals[1].T, jnp.outer(residuals[0], y_bar), y_bar),
    )
    return layer


def gradient(layer):
    def loss(params, xs):
        return jax.vmap(lambda x: jnp.sum(jnp.tanh(layer(x, *params)) ** 2))(xs).mean()

    return jax.jit(jax.grad(loss))


def outer_products(text: str) -> list[str]:
    """The arrays in a program with the axes batch, inputs and outputs, in any order."""
    wanted = sorted([BATCH, INPUTS, OUTPUTS])
    shapes = re.findall(r"[a-z]\w*\[([\d,]+)\]", text) + re.findall(r"tensor<([\dx]+)x[a-z]\w*>", text)
    return [shape for shape in shapes if sorted(map(int, re.split("[,x]", shape))) == wanted]


def products(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(r"stablehlo\.dot_general|= \S+ dot\(|matmul|__dot", line)]


@pytest.mark.cpu
def test_the_gradient_of_a_batch_is_matrix_products_alone():
    lowered = {f: gradient(f).lower((W, B), XS) for f in (fnnet.dense, product)}
    for text in (lowered[fnnet.dense].as_text(), lowered[fnnet.dense].compile().as_text()):
        assert outer_products(text) == []
        assert "batching_dims" not in text
        assert "lhs_batch_dims" not in text
    ours, expected = (products(lowered[f].as_text()) for f in (fnnet.dense, product))
    assert len(ours) == len(expected) == 2  # the output, and the kernel's gradient
    ours, expected = (products(lowered[f].compile().as_text()) for f in (fnnet.dense, product))
    assert len(ours) == len(expected) > 0


@pytest.mark.cpu
def test_the_structure_test_sees_a_batch_of_outer_products():
    lowered = gradient(per_example_product()).lower((W, B), XS)
    assert outer_products(lowered.as_text())
    assert outer_products(lowered.compile().as_text())


def test_the_forward_is_the_plain_forward():
    texts = []
    for layer in (fnnet.dense, product):
        text = jax.jit(jax.vmap(layer, (0, None, None))).lower(XS, W, B).as_text()
        texts.append(sorted(re.findall(r"stablehlo\.(\w+)", text)))
    assert texts[0].count("dot_general") == texts[1].count("dot_general") == 1
    assert "custom_call" not in texts[0]


def test_an_eager_gradient_runs_compiled_programs():
    """Forward and backward are traced at the first call; JAX runs a custom_vjp function operation by operation."""
    traced = []

    def sine_fwd(x):
        traced.append("forward")
        return jnp.sin(x), x

    def sine_bwd(x, y_bar):
        traced.append("backward")
        return (y_bar * jnp.cos(x),)

    sine = fnnet.rule(sine_fwd, sine_bwd, batched=("x",))
    assert jax.grad(sine)(0.5) == jnp.cos(0.5)
    assert set(traced) == {"forward", "backward"}
    traced.clear()
    _, pull = jax.vjp(sine, 0.25)
    assert pull(1.0)[0] == jnp.cos(0.25)
    assert traced == []
    assert jax.jit(lambda: pull(np.float32(1)))()[0] == jnp.cos(0.25)  # known arguments inside another program


def test_an_eager_gradient_keeps_an_output_itself():
    """What a program returns twice is there twice."""
    y, pull = jax.vjp(fnnet.tanh, XS)
    assert y.unsafe_buffer_pointer() in {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(pull)}


@pytest.mark.parametrize("batched", [("x",), ()], ids=["batched", "example by example"])
def test_one_backward_call_for_a_mini_batch(batched):
    calls = []

    def layer_fwd(x, kernel):
        return x @ kernel, (x, kernel)

    def layer_bwd(residuals, y_bar):
        calls.append(y_bar.shape)
        x, kernel = residuals
        return y_bar @ kernel.T, jnp.einsum("...i,...o->io", x, y_bar)

    layer = fnnet.rule(layer_fwd, layer_bwd, batched=batched)

    def loss(kernel, xs):
        return jax.vmap(lambda x: jnp.sum(layer(x, kernel) ** 2))(xs).mean()

    jax.grad(loss)(W, XS)
    assert calls == [(BATCH, OUTPUTS) if batched else (OUTPUTS,)]
    calls.clear()
    jax.jit(jax.grad(lambda kernel, xs: jax.vmap(loss, (None, 0))(kernel, xs).mean()))(W, XS.reshape(4, 8, INPUTS))
    assert calls == [(4, 8, OUTPUTS) if batched else (OUTPUTS,)]
    calls.clear()
    jax.vmap(jax.grad(loss), (None, 0))(W, XS[:, None])
    assert len(calls) == 1


def test_a_compiled_function_is_traced_once():
    traced = []

    def layer_fwd(x, *, factor):
        traced.append(x.shape)
        return factor * x, None

    layer = fnnet.rule(layer_fwd, lambda _, y_bar, factor: (factor * y_bar,), batched=("x",))
    step = jax.jit(jax.grad(lambda x: layer(x, factor=2.0).sum()))
    step(XS)
    traced.clear()
    step(XS + 1)
    assert traced == []


def saved(capsys, layer, policy) -> list[str]:
    """Shapes that a checkpointed loss saves besides its arguments."""

    def loss(params, xs):
        return jax.vmap(lambda x: jnp.sum(jnp.tanh(layer(x, *params)) ** 2))(xs).mean()

    print_saved_residuals(jax.checkpoint(loss, policy=policy), (W, B), XS)
    return sorted(line.split()[0] for line in capsys.readouterr().out.splitlines() if "from the argument" not in line)


POLICIES = ("dots_saveable", "everything_saveable", "nothing_saveable", "dots_with_no_batch_dims_saveable")


@pytest.mark.parametrize("policy", POLICIES)
def test_checkpoint_policies_see_the_products(capsys, policy):
    policy = getattr(jax.checkpoint_policies, policy)
    ours, expected = (saved(capsys, layer, policy) for layer in (fnnet.dense, product))
    if policy is jax.checkpoint_policies.everything_saveable:
        assert f"f32[{BATCH},{OUTPUTS}]" in ours
    else:
        assert ours == expected


def network(params, xs):
    """Every layer with a form of its own, under vmap."""

    def of_one(x):
        y = fnnet.max_pool(fnnet.relu(fnnet.conv(x, params["conv"])), 2)
        return jnp.sum(fnnet.dense(fnnet.avg_pool(y, 2, stride=1).reshape(-1), params["dense"]) ** 2)

    return jax.vmap(of_one)(xs).mean()


NETWORK = {"conv": RNG.normal(size=(3, 3, 2, 4)).astype("f"), "dense": RNG.normal(size=(16, 3)).astype("f")}
IMAGES = RNG.normal(size=(6, 6, 6, 2)).astype("f")


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
def test_export_to_other_platforms(platform):
    exported = jax.export.export(jax.jit(jax.grad(network)), platforms=[platform])(NETWORK, IMAGES)
    assert exported.platforms == (platform,)
    assert "fnnet" not in "".join(re.findall(r"custom_call @(\S+)", exported.mlir_module()))


def test_export_with_a_symbolic_batch():
    (size,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((size, *IMAGES.shape[1:]), jnp.float32)
    exported = jax.export.export(jax.jit(jax.value_and_grad(network)))(NETWORK, images)
    for count in (1, 6):
        ours = exported.call(NETWORK, IMAGES[:count])
        expected = jax.value_and_grad(network)(NETWORK, IMAGES[:count])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), ours, expected)


def test_a_symbolic_batch_given_as_leading_axis():
    (size,) = jax.export.symbolic_shape("batch")

    def loss(params, xs):
        y = fnnet.max_pool(fnnet.relu(fnnet.conv(xs, params["conv"])), 2)
        return jnp.sum(fnnet.dense(fnnet.avg_pool(y, 2, stride=1).reshape(xs.shape[0], -1), params["dense"]) ** 2)

    images = jax.ShapeDtypeStruct((size, *IMAGES.shape[1:]), jnp.float32)
    exported = jax.export.export(jax.jit(jax.grad(loss)))(NETWORK, images)
    ours, expected = exported.call(NETWORK, IMAGES), jax.grad(loss)(NETWORK, IMAGES)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-4), ours, expected)


def test_profiles_speak_of_layers():
    text = gradient(fnnet.dense).lower((W, B), XS).compile().as_text()
    assert "fnnet.dense.forward" in text
    assert "fnnet.dense.backward" in text
