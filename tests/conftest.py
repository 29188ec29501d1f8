"""Settings of every test: device, compilation flags, checked shapes, strict dtype promotion, double precision."""

import atexit
import gc
import os
import pathlib
import shutil
import tempfile

# Read when JAX first looks for devices. Eight devices stand for a machine with eight accelerators; unoptimised machine
# code takes a third off compilation, which is most of the time of the tests. What the caller set comes last, and wins.
CALLERS_FLAGS = os.environ.get("XLA_FLAGS", "")
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1"  # in one piece: the other core has tests of its own
)
EIGHT = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{EIGHT} {QUICK} {CALLERS_FLAGS}"
# XLA has one thread a device. A device that waits for the others keeps its thread, and one that needs two may wait for
# ever; XLA ends the process after 40 s. https://github.com/openxla/xla: cpu_client.cc, DefaultThreadPoolSize.
os.environ.setdefault("PJRT_NPROC", "24")

# A program that two tests or two workers need is compiled once a run: a quarter of them all.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.mkdtemp(prefix="fnnet-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)

import jaxtyping  # noqa: E402

# The shapes in signatures are read from here on; in the other modules the types are mypy's.
ROOT = pathlib.Path(__file__).parents[1]
WITH_SHAPES = [file for file in ROOT.glob("fnnet/**/*.py") if "from jaxtyping import" in file.read_text()]
MODULES = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in WITH_SHAPES]
jaxtyping.install_import_hook(MODULES, "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
# No operation of a compiled program carries the lines of Python that it came from: a tenth of the time to trace.
jax.config.update("jax_traceback_in_locations_limit", 0)


ON_A_CPU = pytest.mark.skip(reason="of CPUs: --device cpu, the default, runs it")


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=("cpu", "present"),
        default="cpu",
        help="where the tests compute: a CPU, or the device that JAX finds first, such as a GPU",
    )


def pytest_configure(config):
    if config.getoption("--device") == "present":
        os.environ["XLA_FLAGS"] = CALLERS_FLAGS
        jax.config.update("jax_default_matmul_precision", "highest")  # f32 in f32, not in TF32 or bf16
    else:
        os.environ["JAX_PLATFORMS"] = "cpu"  # for the processes that tests start
        jax.config.update("jax_platforms", "cpu")


def pytest_collection_finish():
    """Jaxprs and compiled programs stay: Python need not look through them all, again and again, for garbage.

    JAX reads its flags now, so that an example that calls `fnnet.use_onednn` changes nothing for the tests after it.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    jax.devices()


def pytest_collection_modifyitems(config, items):
    if config.getoption("--device") == "present":
        for item in items:
            if item.get_closest_marker("cpu"):
                item.add_marker(ON_A_CPU)


@pytest.fixture
def x64():
    """Double precision, for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def standard_promotion():
    """For tests that train: optax's own arithmetic is not written for strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def forgets(request):
    """Programs of a slow test do not outlive it; the other tests' are few, and needed again."""
    yield
    if request.node.get_closest_marker("slow"):
        jax.clear_caches()


@pytest.fixture
def unchecked_shapes():
    """Signatures unread, for tests of bad input: the error has to be fnnet's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def users_environment():
    """The environment for another Python: a user's, without the compilation flags of the tests."""
    return {**os.environ, "XLA_FLAGS": CALLERS_FLAGS}
