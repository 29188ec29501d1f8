"""Convolution's formulations: that all of them are the same function, and which one is compiled where."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.comparison import compare
from contract.rows import ROWS
from jax import export

import fnnet
from fnnet.formulations import canonical, plain
from fnnet.geometry import window

RNG = np.random.default_rng(5)
SHAPES = {  # image, kernel, groups
    "dense": ((8, 6, 5, 24), (3, 3, 24, 20), 1),
    "few taps": ((8, 6, 5, 1), (3, 3, 1, 32), 1),
    "groups": ((8, 6, 5, 24), (3, 3, 6, 20), 4),
    "depthwise": ((8, 6, 5, 24), (3, 3, 1, 24), 24),
}


@pytest.mark.parametrize("index", range(24))
def test_plain_and_canonical_are_the_same_function(index, x64):
    case = ROWS["conv"].case(index)
    x, kernel = case.arrays["x"], case.arrays["kernel"]
    size = kernel.shape[:-2]
    static = {name: case.draw.static.get(name, 1) for name in ("stride", "dilation")}
    place = window("conv", x.shape, size, padding=case.draw.static["padding"], **static)
    shared = {"window": place, "groups": case.draw.static["groups"]}
    images = jnp.asarray(x.reshape(-1, *x.shape[-len(size) - 1 :]))
    if not len(images):
        return
    cotangents = jnp.asarray(case.generator(1).normal(size=(len(images), *place.out, kernel.shape[-1])))
    for name, args in {
        "output": (images, kernel),
        "x_gradient": (kernel, cotangents),
        "kernel_gradient": (images, cotangents),
    }.items():
        ours, theirs = (jax.jit(functools.partial(getattr(page, name), **shared))(*args) for page in (canonical, plain))
        assert not compare(name, ours, theirs, 1e-12)


def gradients(groups):
    def loss(x, kernel):
        return jnp.sum(jnp.sin(fnnet.conv(x, kernel, groups=groups)))

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


def convolutions(text: str) -> list[str]:
    """The convolutions of a program, each by its number of groups."""
    return re.findall(r"feature_group_count = (\d+)", text)


@pytest.mark.parametrize("shape", SHAPES)
def test_on_a_cpu_no_convolution_has_groups(shape):
    image, kernel, groups = SHAPES[shape]
    text = gradients(groups).lower(jnp.zeros(image), jnp.zeros(kernel)).as_text()
    wanted = {"dense": 3, "few taps": 2, "groups": 12, "depthwise": 0}
    assert convolutions(text) == ["1"] * wanted[shape]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
@pytest.mark.parametrize("shape", SHAPES)
def test_elsewhere_there_are_three_plain_convolutions(shape, platform, dtype):
    image, kernel, groups = SHAPES[shape]
    args = jax.ShapeDtypeStruct(image, dtype), jax.ShapeDtypeStruct(kernel, dtype)
    text = export.export(gradients(groups), platforms=[platform])(*args).mlir_module()
    assert len(convolutions(text)) == 3
    assert not re.search(r"stablehlo\.(while|scatter|concatenate|dot_general)", text)


def test_of_one_example_the_kernel_gradient_is_a_product():
    """Under vmap(grad): batched products of patches, where autodiff has a convolution with a group an example."""
    _, kernel, _ = SHAPES["dense"]
    each = jax.jit(jax.vmap(lambda x, k: gradients(1)(x, k)[1][1], (0, None)))
    text = each.lower(jnp.zeros((4, 6, 5, 24)), jnp.zeros(kernel)).as_text()
    assert set(convolutions(text)) == {"1"}
    assert "batching_dims" in text


LARGE = {
    "few taps": ((64, 32, 32, 1), (3, 3, 1, 32), 1),
    "depthwise": ((32, 32, 32, 64), (3, 3, 1, 64), 64),
    "groups": ((32, 16, 16, 64), (3, 3, 16, 64), 4),
}


@pytest.mark.parametrize("shape", LARGE)
def test_large_shapes_agree_with_autodiff(shape):
    image, kernel, groups = LARGE[shape]
    x, k = (RNG.normal(size=shape).astype(np.float32) for shape in (image, kernel))
    place = window("conv", x.shape, kernel[:2], stride=1, dilation=1, padding="SAME")
    g = jnp.asarray(RNG.normal(size=(*image[:-1], kernel[-1])).astype(np.float32))
    _, pull = jax.vjp(functools.partial(plain.output, window=place, groups=groups), x, k)
    _, ours = jax.vjp(functools.partial(fnnet.conv, groups=groups), x, k)
    for name, a, b in zip(("x", "kernel"), ours(g), pull(g), strict=True):
        assert not compare(f"{name} of {shape}", a, b, 1e-4)
