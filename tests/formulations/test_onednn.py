"""`use_onednn`, each time in a process of its own: what XLA calls, what it computes, and when it comes too late."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fnnet.core import compiler, onednn
from fnnet.formulations.branches import KEEPS_BARRIERS

pytestmark = pytest.mark.cpu

DRAWN = Path(__file__).with_name("onednn_program.py")
FIRST = "import jax, jax.numpy as jnp, fnnet\nused = fnnet.use_onednn()\n"


def run(*arguments, **environment):
    """What a Python process printed. XLA_FLAGS are the test's own."""
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | environment
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def can():
    """Skips where this jaxlib has no oneDNN."""
    if run("-c", FIRST + "print(used)") == "False\n":
        pytest.skip("XLA cannot call oneDNN here")


@pytest.mark.parametrize(
    ("first", "last"), [(0, 6), pytest.param(6, 150, marks=pytest.mark.slow)], ids=["a few", "many"]
)
def test_drawn_convolutions_and_gradients_agree_with_lax(can, first, last):
    assert int(run(DRAWN, str(first), str(last))) >= 0.9 * (last - first)


NETWORKS = {
    "$convolution": """
net = fnnet.Sequential(
    fnnet.Conv(16, 3), fnnet.relu, fnnet.Conv(16, 3, groups=16), fnnet.Conv(32, 1), fnnet.relu,
    fnnet.Conv(32, 3, stride=2), fnnet.relu, fnnet.Conv(6, 5), fnnet.relu, fnnet.Conv(16, 5), fnnet.Flatten(),
    fnnet.Dense(10),
)
xs = jax.random.normal(jax.random.key(1), (32, 16, 16, 3))
""",
    "$matmul": """
body = fnnet.Residual(fnnet.LayerNorm(), fnnet.Dense(32))
net = fnnet.Sequential(fnnet.Conv(32, 1), body, fnnet.Flatten(), fnnet.Dense(10))
xs = jax.random.normal(jax.random.key(1), (64, 16, 16, 16))
""",
}
TRAINED = """
params, ys = net.init(jax.random.key(0), xs.shape[1:]), jnp.arange(len(xs)) % 10
def loss(params):
    return fnnet.mean_loss(fnnet.softmax_cross_entropy, jax.vmap(net.apply, (None, 0))(params, xs), ys)
program = jax.jit(jax.value_and_grad(loss), compiler_options=fnnet.safe_options()).lower(params).compile()
print(program.as_text().count("__onednn{call}"))
value, grad = program(params)
print(float(value), *(float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(grad)))
"""


@pytest.mark.parametrize(("call", "least"), [("$convolution", 10), ("$matmul", 1)])
def test_a_network_calls_it_and_has_the_same_gradients(can, call, least):
    """Ten are six outputs and five gradients of images, of which one has a stride."""
    program = NETWORKS[call] + TRAINED.replace("{call}", call)
    calls, numbers = run("-c", FIRST + program).splitlines()
    none, without = run("-c", FIRST.replace("fnnet.use_onednn()", "None") + program).splitlines()
    assert int(none) == 0
    assert int(calls) >= (least if KEEPS_BARRIERS else 1)
    found, right = ([float(number) for number in line.split()] for line in (numbers, without))
    assert found == pytest.approx(right, rel=1e-4)


KERNEL_GRADIENTS = """
def gradient(x, kernel, y_bar):
    return jax.vjp(lambda kernel: fnnet.conv(x, kernel), kernel)[1](y_bar)
for channels in (6, 16):
    shapes = (64, 12, 12, channels), (5, 5, channels, 16), (64, 12, 12, 16)
    text = jax.jit(gradient).lower(*(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes)).compile().as_text()
    print("__onednn$convolution" in text)
"""


def test_a_kernel_gradient_of_few_channels_stays_with_xla(can):
    assert run("-c", FIRST + KERNEL_GRADIENTS).split() == ["False", "True"]


DEVICES = """
from jax.sharding import NamedSharding, PartitionSpec as P
mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
x, kernel = jax.random.normal(jax.random.key(0), (16, 9, 9, 4)), jax.random.normal(jax.random.key(1), (3, 3, 4, 8))
shared = jax.device_put(x, NamedSharding(mesh, P("batch")))
def gradients(x, kernel):
    return jax.grad(lambda x, kernel: jnp.sum(fnnet.conv(x, kernel) ** 3), (0, 1))(x, kernel)
program = jax.jit(gradients).lower(shared, kernel).compile()
pairs = zip(program(shared, kernel), jax.jit(gradients)(x, kernel))
errors = [float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs]
print("__onednn$convolution" in program.as_text(), max(errors))
"""


def test_devices_share_a_batch(can):
    called, error = run("-c", FIRST + DEVICES, JAX_NUM_CPU_DEVICES="4").split()
    assert called == "True"
    assert float(error) < 1e-5


def test_too_late_is_said_and_changes_nothing():
    late = "import os, jax, fnnet\njax.jit(lambda: 0)()\nprint(fnnet.use_onednn(), os.environ['XLA_FLAGS'])"
    own = "--xla_cpu_multi_thread_eigen=true"
    assert run("-c", late, XLA_FLAGS=own) == f"False {own}\n"
    assert run("-c", late.replace("os.environ['XLA_FLAGS']", "'XLA_FLAGS' in os.environ")) == "False False\n"


def test_flags_of_ones_own_stay(can):
    own = "--xla_cpu_multi_thread_eigen=true"
    assert run("-c", FIRST + "import os; print(used, os.environ['XLA_FLAGS'])", XLA_FLAGS=own).startswith(
        f"True {own} "
    )


def test_safe_options_leave_convolutions_to_it(monkeypatch):
    if not compiler.safe_options():
        pytest.skip("this XLA does not know the option")
    assert "CONVOLUTION" in str(compiler.safe_options())
    monkeypatch.setattr(onednn, "_is_used", True)
    assert "CONVOLUTION" not in str(compiler.safe_options())
    assert "DOT" in str(compiler.safe_options())
