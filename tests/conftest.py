"""Settings of every test: compilation flags, checked shapes, strict dtype promotion, double precision on request."""

import os

# Read when JAX first looks for devices. Eight devices stand for a machine with eight accelerators; unoptimised machine
# code takes a third off compilation, which is most of the time of the tests. What the caller set comes last, and wins.
CALLERS_FLAGS = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 {CALLERS_FLAGS}"

import jaxtyping  # noqa: E402

jaxtyping.install_import_hook("fnnet", "beartype.beartype")  # reads the shapes in signatures from here on

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64():
    """Double precision, for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked_shapes():
    """Signatures unread, for tests of bad input: the error has to be fnnet's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def users_environment():
    """The environment for another Python: a user's, without the compilation flags of the tests."""
    return {**os.environ, "XLA_FLAGS": CALLERS_FLAGS}
