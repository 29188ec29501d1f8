"""Settings of a training as an optimiser of optax: schedules, weight decay, clipping, and runs from before them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnnet.cli import presets
from fnnet.training.arguments import RATES, as_optimizer

SETTINGS = {"optimizer": "sgd", "learning_rate": 0.8, "warmup": 2, "weight_decay": 0.0, "clip": None}
PARAMS = {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([2.0])}
GRADIENT = {"kernel": jnp.array([[6.0, 8.0]]), "bias": jnp.array([0.0])}
MASK = {"kernel": True, "bias": False}


pytestmark = pytest.mark.usefixtures("standard_promotion")


def updates(config, mask=MASK):
    optimizer = presets.optimizer(config, 10, mask)
    found, _ = optimizer.update(GRADIENT, optimizer.init(PARAMS), PARAMS)
    return found


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0, 0.4, 0.8, 0.8, 0.8, 0.8]),
        ("linear", [0, 0.4, 0.8, 0.6, 0.4, 0]),
        ("cosine", [0, 0.4, 0.8, 0.4 * (1 + np.cos(np.pi / 4)), 0.4, 0]),
    ],
)
def test_a_rate_goes_up_and_then_as_the_schedule_says(schedule, rates):
    rate = presets.learning_rate(SETTINGS | {"schedule": schedule}, 10)
    np.testing.assert_allclose([rate(step) for step in (0, 1, 2, 4, 6, 10)], rates, atol=1e-6)


def test_fit_and_the_command_line_take_the_same_names():
    assert sorted(RATES) == sorted(presets.OPTIMIZERS)
    config = {"optimizer": "momentum", "learning_rate": RATES["momentum"], "schedule": "constant", "weight_decay": 0.0}
    ours, theirs = as_optimizer("fit", "momentum"), presets.optimizer(config, 10)
    states = ours.init(PARAMS), theirs.init(PARAMS)
    for step in (1, 2):
        (one, mine), (other, its) = ours.update(GRADIENT, states[0]), theirs.update(GRADIENT, states[1])
        states = mine, its
        jax.tree.map(np.testing.assert_array_equal, one, other)
        np.testing.assert_allclose(one["kernel"], -0.01 * (1 if step == 1 else 1.9) * GRADIENT["kernel"], rtol=1e-6)


def test_a_constant_rate_is_a_number():
    assert presets.learning_rate(SETTINGS | {"schedule": "constant", "warmup": 0}, 10) == 0.8


def test_decay_and_clipping():
    plain = SETTINGS | {"schedule": "constant", "warmup": 0}
    np.testing.assert_allclose(updates(plain)["kernel"], [[-4.8, -6.4]], rtol=1e-6)
    np.testing.assert_allclose(updates(plain | {"clip": 5.0})["kernel"], [[-2.4, -3.2]], rtol=1e-6)
    decayed = updates(plain | {"weight_decay": 0.5})
    np.testing.assert_allclose(decayed["kernel"], [[-0.8 * 7.5, -0.8 * 6.0]], rtol=1e-6)
    assert decayed["bias"] == 0


def test_adamw_decays_what_the_mask_says():
    settings = SETTINGS | {"optimizer": "adamw", "weight_decay": 0.5, "schedule": "constant", "warmup": 0}
    assert updates(settings)["bias"] == 0
    np.testing.assert_allclose(updates(settings)["kernel"], [[-0.8 * 2.5, 0.8]], rtol=1e-5)


def test_a_run_from_before_has_the_optimiser_that_it_began_with():
    old = {"optimizer": "adamw", "learning_rate": 2e-3}
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, 10), weight_decay=1e-2)
    wanted, _ = optimizer.update(GRADIENT, optimizer.init(PARAMS), PARAMS)
    jax.tree.map(np.testing.assert_array_equal, updates(old), wanted)
