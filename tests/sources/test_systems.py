"""experiments/sources: the three gradients of every system agree, and the printed rules are the printed loops."""

import re
import subprocess
import sys
from pathlib import Path

import categorical_cross_entropy
import dense_loops
import jax
import mini_batches_of_images
import numpy as np
import one_at_a_time
import printed_rules
import pytest
import relu_neuron
import reported_network
import sigmoid_cross_entropy
import sigmoid_loops
import sigmoid_recursion
from sampled import one_in
from small_networks import difference
from three_ways import largest_difference, mean

import fnnet

ROOT = Path(__file__).parents[2]
SYSTEMS = (
    categorical_cross_entropy,
    mini_batches_of_images,
    one_at_a_time,
    relu_neuron,
    reported_network,
    sigmoid_cross_entropy,
    sigmoid_recursion,
)


@pytest.mark.parametrize("system", one_in(3, SYSTEMS, lambda system: system.__name__))
def test_three_gradients(system):
    gradients = system.gradients(seed=1)
    assert {name.split(",")[0] for name in gradients} == {"loops", "rule", "jax.grad"}
    assert largest_difference(gradients) < 1e-12


def test_a_difference_is_seen():
    ours = [np.ones(3), np.ones(2)]
    assert largest_difference({"a": ours, "b": [np.ones(3), np.array([1, 1 + 1e-9])]}) == pytest.approx(5e-10, rel=1e-3)
    with pytest.raises(ValueError, match="float64"):
        largest_difference({"a": ours, "b": [np.ones(3), np.ones(3)]})


def of_the_sources(params_bar):
    return [(np.asarray(kernel).T, np.asarray(bias)) for kernel, bias in params_bar]


def altered(params_bar, transformation):
    """An optimiser's change of gradients that stand as pairs."""
    named = {str(number): {"kernel": kernel, "bias": bias} for number, (kernel, bias) in enumerate(params_bar)}
    named, _ = transformation.update(named, None)
    return [(layer["kernel"], layer["bias"]) for layer in named.values()]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("slope", "softmax", "every_bias", "printed"),
    [
        (True, printed_rules.softmax_diagonal, False, {"softmax-diagonal"}),
        (True, reported_network.FEW, False, {"softmax-diagonal", "loop-over-layers"}),
        (False, fnnet.softmax, False, {"hidden-slope"}),
        (True, fnnet.softmax, True, {"bias-inside-loop"}),
        (False, reported_network.FEW, True, set(dense_loops.FIRST) - {"next-unset"}),
    ],
    ids=["diagonal", "few", "slope", "bias", "all"],
)
def test_printed_rules_of_the_first_version(slope, softmax, every_bias, printed):
    params, xs, ys = reported_network.example(2)
    activation = fnnet.leaky_relu if slope else reported_network.SLOPELESS

    def cost(params):
        return reported_network.cost(activation, softmax, params, xs[0], ys[0])

    ours = jax.jit(jax.grad(cost))(params)
    if every_bias:
        ours = altered(ours, printed_rules.bias_inside_loop())
    loops = dense_loops.step_2_first(reported_network.layers_of(params), xs[0], ys[0], printed)
    assert difference(of_the_sources(ours), loops) < 1e-12


@pytest.mark.usefixtures("x64")
def test_printed_rules_of_the_mini_batch():
    params, xs, ys = reported_network.example(3)
    cost = lambda *args: reported_network.cost(fnnet.leaky_relu, fnnet.softmax, *args)  # noqa: E731
    ours = jax.jit(jax.grad(mean(cost)))(params, xs, ys)
    batch = len(xs)
    for transformation in (printed_rules.bias_inside_loop(batch), printed_rules.columns_by_batch(batch)):
        ours = altered(ours, transformation)
    loops = dense_loops.step_2_batch(
        reported_network.layers_of(params), xs, ys, {"columns-by-batch", "bias-inside-loop"}
    )
    assert difference(of_the_sources(ours), loops) < 1e-12


@pytest.mark.usefixtures("x64")
def test_printed_sign():
    rng = np.random.default_rng(4)
    params = [(rng.normal(size=size), rng.normal(size=size[1])) for size in sigmoid_recursion.SIZES]
    x, y = rng.normal(size=6), rng.uniform(size=3)

    def cost(params):
        a = x
        for kernel, bias in params:
            a = printed_rules.sigmoid_negative(fnnet.dense(a, kernel, bias))
        return fnnet.squared_error(a, y)

    loops = sigmoid_loops.recursion([(kernel.T, bias) for kernel, bias in params], x, y, {"slope-sign"})
    assert difference(of_the_sources(jax.jit(jax.grad(cost))(params)), loops) < 1e-12


@pytest.mark.slow
def test_all_systems_in_one_table(tmp_path, users_environment):
    environment = {**users_environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "experiments/sources", "--pictures", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    shown = done.stdout[done.stdout.index("largest difference") :]
    differences = [float(number) for number in re.findall(r"  (\d\.\de[+-]\d\d)  ", shown)]
    assert len(differences) == len(SYSTEMS)
    assert max(differences) < 1e-12
    assert {file.stem for file in tmp_path.glob("*.png")} == {system.__name__ for system in SYSTEMS} - {"relu_neuron"}
