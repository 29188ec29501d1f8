"""What GPUs and TPUs are given, read without one: programs that `jax.export` lowers for them.

Every rule with its gradients, at configurations drawn from its proof, and the whole training step. The programs have no
scatter, no select-and-scatter, no loop and no call of a library; nothing that stands in fnnet's formulations for a CPU;
and sums in f32 for bf16. Their convolutions are those of autodiff: test_by_hand.py.
"""

import collections
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export, lax

import fnnet
from fnnet.cli import presets
from fnnet.proofs import own
from fnnet.proofs.proof import cast
from fnnet.training import steps
from fnnet.training.state import nothing_yet

PLATFORMS = ("cuda", "rocm", "tpu")
DTYPES = ("float32", "bfloat16")
FOR_A_CPU = (
    "branches",
    "canonical",
    "depthwise",
    "patches",
    "pieces",
    "sums",
    "winograd",
)  # pages of fnnet/formulations
SLOW_THERE = {"scatter", "select_and_scatter", "while", "custom_call", "sort", "gather", "dynamic_slice"}
OF_A_LOOP = {"while", "dynamic_slice"}
BY_INDEX = {"gather", "scatter", "dynamic_slice"}
BY_INDEX_ALONE = ("embedding", "linear_softmax_cross_entropy")  # a row of the table; a row's logit of its label
ALL_PROGRAMS = tuple(itertools.product(DTYPES, PLATFORMS))
TWO_PROGRAMS = ("float32", "cuda"), ("bfloat16", "tpu")


@pytest.fixture(autouse=True)
def operations_say_where_they_come_from():
    """As they do by default, and not in the other tests: by that the formulations for a CPU are seen."""
    kept = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 100)
    yield
    jax.config.update("jax_traceback_in_locations_limit", kept)


def lowered(function, *args, platform):
    return export.export(jax.jit(function), platforms=[platform])(*args).mlir_module()


def operations(text):
    return collections.Counter(re.findall(r"(?:stablehlo|chlo)\.(\w+)", text))


def convolutions(text):
    """Each convolution without the names of its operands and the place where it stands."""
    return sorted(re.findall(r"stablehlo\.convolution\(.*?\) (dim_numbers.*?) loc", text))


def narrow_sums(text):
    """Products and sums of bf16 that are not carried in f32.

    A convolution names no dtype for its sums: cuDNN, MIOpen and the TPU's matrix unit carry those of bf16 in f32.
    """
    products = re.findall(r"stablehlo\.dot_general.*?: \((.*?)\) -> tensor<(\S+)>", text)
    found = [f"{operands} -> {result}" for operands, result in products if "bf16" in operands and "xf32" not in result]
    sums = re.findall(r"stablehlo\.reduce\([^)]*\) applies stablehlo\.add .*?: \((tensor<\S+>),", text)
    return found + [operand for operand in sums if "bf16" in operand]


def unwanted(text, slow=SLOW_THERE):
    pages = [page for page in FOR_A_CPU if f"formulations/{page}.py" in text]
    return sorted(slow & operations(text).keys()) + pages + narrow_sums(text)


def value_and_gradients(case):
    """The rule's value and its gradients; their sum in f32, so that all other sums are the rule's."""

    def run(arrays):
        def loss(moving):
            y = case.proof.called(case.proof.function, {**arrays, **moving}, case.configuration.static)
            return sum(jnp.sum(jnp.sin(one.astype(jnp.float32))) for one in jax.tree.leaves(y))

        return jax.value_and_grad(loss)({name: arrays[name] for name in case.differentiated})

    return run


def shapes(arrays):
    narrowed = {"float64": "float32", "int64": "int32"}
    return {name: jax.ShapeDtypeStruct(a.shape, narrowed.get(a.dtype.name, a.dtype.name)) for name, a in arrays.items()}


def runs_of_cases():
    """Quick: one case on two of the platforms; two of a heavy rule, on all."""
    proofs = own().values()
    quick = [(proof, *(((0, 4), ALL_PROGRAMS) if proof.is_heavy else ((0,), TWO_PROGRAMS))) for proof in proofs]
    return [pytest.param(*case, id=case[0].name) for case in quick] + [
        pytest.param(proof, range(12), ALL_PROGRAMS, id=f"{proof.name}-all", marks=pytest.mark.slow) for proof in proofs
    ]


@pytest.mark.parametrize(("proof", "numbers", "programs"), runs_of_cases())
def test_every_rule(proof, numbers, programs):
    for case, (dtype, platform) in itertools.product(map(proof.case, numbers), programs):
        args = shapes(cast(cast(case.arrays, "float32"), dtype))
        text = lowered(value_and_gradients(case), args, platform=platform)
        slow = SLOW_THERE - BY_INDEX if proof.name in BY_INDEX_ALONE else SLOW_THERE
        slow = slow - OF_A_LOOP if proof.loops else slow
        assert not unwanted(text, slow), f"{case} in {dtype} for {platform}"


LOSS = fnnet.softmax_cross_entropy
ADAM = optax.adam(1e-3)
SHAPE, BATCH = (12, 12, 1), 8


def of_a_training(dtype):
    """A network, and the shapes of its training state, images and labels."""
    net = fnnet.Sequential(*presets.cnn(10, SHAPE).layers, compute_dtype=dtype)
    state = jax.eval_shape(lambda key: steps.start(net, ADAM, key, SHAPE), jax.random.key(0))
    return net, state, jax.ShapeDtypeStruct((BATCH, *SHAPE), "float32"), jax.ShapeDtypeStruct((BATCH,), "int32")


@pytest.fixture
def standard_promotion():
    """optax's own arithmetic is not written for strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_training_step(platform, dtype):
    net, *args = of_a_training(dtype)
    text = lowered(functools.partial(steps.train_step, net, LOSS, ADAM), *args, platform=platform)
    assert not unwanted(text)
    found = convolutions(text)
    assert len(found) == 5  # two outputs, two gradients of kernels, one of an image: the first layer's has no use
    assert all(("bf16" in one) == (dtype == "bfloat16") for one in found)
    assert operations(text)["dot_general"] == 6


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_epoch_is_one_loop_with_its_state_donated(platform):
    net, state, xs, ys = of_a_training("bfloat16")
    tally, stop = jax.eval_shape(nothing_yet), jax.ShapeDtypeStruct((), "int32")
    order = jax.ShapeDtypeStruct((2, BATCH // 2), "int32")
    run = jax.jit(functools.partial(steps.run, net, LOSS, ADAM), donate_argnums=(0, 1))
    text = export.export(run, platforms=[platform])(state, tally, xs, ys, order, stop).mlir_module()
    assert not unwanted(text, SLOW_THERE - {"while", "gather", "dynamic_slice"})  # which take a mini-batch's rows
    assert operations(text)["while"] == 1
    donated = len(re.findall(r"tf\.aliasing_output|jax\.buffer_donor", text.split("{\n", 2)[1]))
    assert donated >= len(jax.tree.leaves((state, tally))) - 3  # what the loop gives back unchanged may be left out


def test_what_is_unwanted_is_seen():
    x, g = jax.ShapeDtypeStruct((1, 8, 8, 32), "bfloat16"), jax.ShapeDtypeStruct((3, 3, 32, 64), "bfloat16")
    pooling = functools.partial(
        lax.reduce_window,
        init_value=-np.inf,
        computation=lax.max,
        window_dimensions=(1, 2, 2, 1),
        window_strides=(1, 2, 2, 1),
        padding="VALID",
    )

    def autodiff(x):
        return jax.grad(lambda x: jnp.sum(pooling(x.astype(jnp.float32))))(x)

    def picked(x):
        return jax.grad(lambda x: jnp.sum(x[jnp.array([0, 0]), jnp.array([1, 2])].astype(jnp.float32)))(x)

    def narrow(x):
        return lax.reduce(x, jnp.bfloat16(0), lax.add, (0, 1))

    def product(x, kernel):
        return x[0, 0] @ kernel[0, 0], jnp.sum(x.astype(jnp.float32))

    from fnnet.core.geometry import window
    from fnnet.formulations import canonical

    def on_a_cpu(x, kernel):
        place = window("conv", x.shape, (3, 3), stride=1, dilation=1, padding="SAME")
        return jnp.sum(canonical.output(x, kernel, window=place, groups=1).astype(jnp.float32))

    assert "select_and_scatter" in unwanted(lowered(autodiff, x, platform="cuda"))
    assert "scatter" in unwanted(lowered(picked, x, platform="tpu"))
    assert "tensor<1x8x8x32xbf16>" in unwanted(lowered(narrow, x, platform="rocm"))
    assert any("->" in one for one in unwanted(lowered(product, x, g, platform="tpu")))
    assert "canonical" in unwanted(lowered(on_a_cpu, x, g, platform="cuda"))
