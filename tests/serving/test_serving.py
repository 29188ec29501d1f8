"""A network as one file: the same numbers without the network's code; what it refuses."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import fnnet
from fnnet import data
from fnnet.cli import runs
from fnnet.cli.command import main
from fnnet.serving import exported, load

NET = fnnet.Sequential(
    *(fnnet.Conv(4, 3), fnnet.relu, fnnet.MaxPool(2), fnnet.Residual(fnnet.Conv(4, 3), jnp.tanh)),
    *(fnnet.Flatten(), fnnet.Dropout(0.5), fnnet.Dense(3)),
)
SHAPE, CLASSES = (6, 6, 2), ("one", "two", "three")
PARAMS = NET.init(jax.random.key(0), SHAPE)
RNG = np.random.default_rng(0)


def images(number):
    return RNG.normal(size=(number, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    where = tmp_path_factory.mktemp("serving") / "network.fnnet"
    return fnnet.serving.export(NET, PARAMS, SHAPE, where, output=fnnet.softmax, classes=CLASSES)


@pytest.fixture(scope="module")
def network(file):
    return load(file)


@pytest.mark.parametrize("number", [1, 5, 300])
def test_the_same_numbers_for_any_number_of_examples(file, number):
    xs, network = images(number), load(file)
    wanted = jax.jit(jax.vmap(lambda x: fnnet.softmax(NET.apply(PARAMS, x))))(xs)
    np.testing.assert_allclose(network(xs), wanted, rtol=1e-5, atol=1e-6)
    assert (network.shape, network.classes, network.dtype) == (SHAPE, CLASSES, np.float32)
    assert network.platforms == ("cpu", "cuda", "rocm", "tpu")


ALONE = """
import importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
exported = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exported)
np.save(sys.argv[4], exported.load(sys.argv[2])(np.load(sys.argv[3])))
print(*[name for name in sys.modules if name.startswith("fnnet")])
"""


def test_loading_needs_nothing_of_fnnet(file, tmp_path, users_environment):
    """A copy of its one page, elsewhere, in a Python that imports nothing of fnnet."""
    xs = images(4)
    np.save(tmp_path / "xs.npy", xs)
    page = shutil.copy(exported.__file__, tmp_path / "copied.py")
    paths = [page, file, tmp_path / "xs.npy", tmp_path / "ys.npy"]
    environment = {name: value for name, value in users_environment.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", ALONE, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
    np.testing.assert_allclose(np.load(tmp_path / "ys.npy"), load(file)(xs), rtol=1e-5, atol=1e-6)


def test_jax_alone_runs_it(file):
    """As docs/serving.md shows it."""
    program = jax_export.deserialize(bytearray(file.read_bytes().split(b"\n", 2)[2]))
    xs = images(2)
    np.testing.assert_array_equal(program.call(xs), load(file)(xs))


def test_no_path_of_this_machine_is_in_it(file):
    content = file.read_bytes()
    assert b".py" not in content
    assert os.fsencode(Path(fnnet.__file__).parent) not in content


def test_mixed_precision_is_exported(tmp_path):
    net = fnnet.Sequential(*NET.layers, compute_dtype=jnp.bfloat16)
    fnnet.serving.export(net, PARAMS, SHAPE, tmp_path / "mixed", platforms=["cpu"])
    xs = images(3)
    ys = load(tmp_path / "mixed")(xs)
    assert ys.dtype == jnp.float32
    np.testing.assert_allclose(ys, jax.vmap(lambda x: NET.apply(PARAMS, x))(xs), rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"platforms": ["cpu", "gpu"]}, ValueError, "export: platforms has 'gpu'; it must have some of cpu, cuda"),
        ({"platforms": []}, ValueError, "export: platforms has 'none'"),
        ({"classes": ["a", "b\x1b[2J"]}, ValueError, r"export: classes has 'b\\x1b\[2J', which cannot be printed"),
        ({"dtype": "int32"}, TypeError, r"export: dtype \(=int32\) must be"),
        ({"output": lambda y: (y, y)}, ValueError, "export: net must give one array; it gives 2"),
    ],
)
def test_what_cannot_be_exported(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        fnnet.serving.export(NET, PARAMS, SHAPE, tmp_path / "file", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seen_in_time", [True, False])
def test_a_file_is_not_written_over(file, monkeypatch, seen_in_time):
    before = file.read_bytes()
    if not seen_in_time:  # as if another process wrote it in the meantime
        monkeypatch.setattr(type(file), "exists", lambda path: False)
    with pytest.raises(FileExistsError, match=r"export: .* exists already"):
        fnnet.serving.export(NET, PARAMS, SHAPE, file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 6, 6, 2), "must have at least one example"),
        ((6, 6, 2), "is one example: add a batch axis, xs[None], or call it without jax.vmap"),
        ((3, 1, 6, 6, 2), "must have one batch axis: xs.reshape(-1, 6, 6, 2)"),
        ((1, 6, 6, 1), "must have shape ('batch', 6, 6, 2)"),
        ((1, 6, 6), "must have shape ('batch', 6, 6, 2)"),
        ((), "must have shape ('batch', 6, 6, 2)"),
    ],
)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_other_shapes_are_refused(network, shape, message, transform):
    with pytest.raises(ValueError, match=re.escape(f"Exported: xs of shape {shape} {message}")):
        transform(network)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool", "complex64"])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.vmap], ids=["plain", "jit", "vmap"])
def test_what_is_not_floating_is_refused(network, dtype, transform):
    scale = "scaled as in training: xs / 255 if that was on images of 0 to 1"
    xs = np.ones((2, *SHAPE), dtype)
    with pytest.raises(TypeError, match=re.escape(f"Exported: xs of dtype {dtype} must be float32, {scale}")):
        transform(network)(xs[None] if transform is jax.vmap else xs)


@pytest.mark.parametrize("xs", [[[1.0], [1.0, 2.0]], "image.png", None, {}, np.full((1, *SHAPE), None), [10**30]])
def test_what_is_no_array_is_refused(network, xs):
    with pytest.raises(TypeError, match="Exported: xs must be an array of float32: "):
        network(xs)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_floating_dtypes_are_cast(network, dtype):
    xs = images(2).astype(jnp.dtype(dtype))
    ys = network(xs)
    assert ys.dtype == jnp.float32
    np.testing.assert_array_equal(ys, network(xs.astype(np.float32)))
    np.testing.assert_allclose(jax.jit(network)(xs), ys, rtol=1e-5, atol=1e-6)


def test_lists_and_not_a_number(network):
    xs = images(2)
    np.testing.assert_array_equal(network(xs.tolist()), network(xs))
    xs[0, 0, 0, 0] = np.nan
    ys = network(xs)
    assert np.isnan(ys[0]).all()
    assert np.isfinite(ys[1]).all()


def test_double_precision_has_to_be_switched_on(tmp_path):
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS)
        fnnet.serving.export(NET, params, SHAPE, tmp_path / "wide", dtype="float64", platforms=["cpu"])
        assert load(tmp_path / "wide")(images(2)).dtype == jnp.float64
    message = "Exported: a network of float64 needs jax.config.update('jax_enable_x64', True)"
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path / "wide")(images(2))


# Inside the caller's transformations.


def example(network):
    """The network as a function of one example."""
    return lambda x: network(x[None])[0]


TRANSFORMED = {
    "jit": jax.jit,
    "vmap": lambda f: lambda xs: jax.vmap(f)(xs.reshape(2, 3, *SHAPE)).reshape(6, 3),
    "jit of vmap": lambda f: jax.jit(lambda xs: jax.vmap(f)(xs.reshape(2, 3, *SHAPE)).reshape(6, 3)),
    "vmap of jit": lambda f: jax.vmap(jax.jit(example(f))),
    "vmap of vmap": lambda f: lambda xs: jax.vmap(jax.vmap(example(f)))(xs.reshape(2, 3, *SHAPE)).reshape(6, 3),
    "vmap along another axis": lambda f: lambda xs: jax.vmap(example(f), in_axes=2)(jnp.moveaxis(xs, 0, 2)),
    "map": lambda f: lambda xs: jax.lax.map(example(f), xs),
    "map in batches": lambda f: lambda xs: jax.lax.map(example(f), xs, batch_size=4),
    "scan": lambda f: lambda xs: jax.lax.scan(lambda total, x: (total, example(f)(x)), 0, xs)[1],
    "constant in jit": lambda f: lambda xs: jax.jit(lambda one: one * f(xs))(1.0),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformed(network, name):
    xs = jnp.asarray(images(6))
    np.testing.assert_allclose(TRANSFORMED[name](network)(xs), network(xs), rtol=1e-5, atol=1e-6)


def total(network):
    return lambda xs: network(xs).sum()


DERIVATIVES = {
    "grad": lambda f: jax.grad(total(f)),
    "grad of jit": lambda f: jax.grad(total(jax.jit(f))),
    "grad of vmap": lambda f: jax.grad(lambda xs: jax.vmap(f)(xs[None]).sum()),
    "jvp": lambda f: lambda xs: jax.jvp(f, (xs,), (xs,)),
    "jacfwd": jax.jacfwd,
    "jacrev": jax.jacrev,
    "hessian": lambda f: jax.hessian(total(f)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_are_refused(network, name):
    message = (
        "Exported: an exported network is the forward pass alone and has no derivative: differentiate "
        "net.apply(params, x), or pass jax.lax.stop_gradient(xs)"
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        DERIVATIVES[name](network)(jnp.asarray(images(2)))


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_a_loss_may_read_what_an_exported_network_says(network, transform):
    """As in distillation: by the parameters of another network, or behind stop_gradient."""
    xs = jnp.asarray(images(2))
    ys = network(xs)
    by_scale = jax.grad(transform(lambda scale, xs: (scale * network(xs)).sum()))(1.0, xs)
    np.testing.assert_allclose(by_scale, ys.sum(), rtol=1e-5)
    stopped = jax.grad(transform(lambda xs: (xs.sum() * network(jax.lax.stop_gradient(xs))).sum()))(xs)
    np.testing.assert_allclose(stopped, jnp.full(xs.shape, ys.sum()), rtol=1e-5)


# XLA's wrong fusions: docs/xla_faults.md.


class Squares:
    """A kernel of one number, then the sum of the outputs' squares: XLA computes the two fused wrongly."""

    def apply(self, params, x):
        return ((x @ jnp.full((64, 64), 0.1)) ** 2).sum(-1)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    where = tmp_path_factory.mktemp("squares") / "network.fnnet"
    return load(fnnet.serving.export(Squares(), {}, (64,), where))


def fused_sums(text):
    """The sums in what the program gives to YNNPACK."""
    called = re.findall(r"calls=(%?[\w.-]+).*__ynn_fusion", text)
    bodies = [text.split(f"\n{name} ", 1)[1].split("\n}", 1)[0] for name in called]
    return sum(body.count(" reduce(") for body in bodies)


@pytest.mark.cpu
def test_no_sum_is_fused_with_a_product(squares):
    xs = RNG.normal(size=(64, 64)).astype(np.float32)
    assert fused_sums(jax.jit(squares).lower(xs).compile().as_text()) == 1  # by XLA's own choice
    assert fused_sums(squares._run_on_cpu.lower(xs).compile().as_text()) == 0
    wanted = 64 * (0.1 * xs.astype(np.float64).sum(1)) ** 2
    np.testing.assert_allclose(squares(xs), wanted, rtol=1e-4)
    np.testing.assert_allclose(jax.vmap(squares)(xs.reshape(2, 32, 64)).reshape(64), wanted, rtol=1e-4)
    safe = jax.jit(lambda xs: 2 * squares(xs), compiler_options=exported.SAFE)  # the caller's own options
    np.testing.assert_allclose(safe(xs), 2 * wanted, rtol=1e-4)


@pytest.mark.cpu
def test_an_xla_without_the_option(file, monkeypatch):
    monkeypatch.setattr(exported, "SAFE", {"xla_cpu_no_such_option": "1"})
    network = load(file)
    assert network(images(2)).shape == (2, 3)
    assert network._run_on_cpu is network._run


def test_another_platform_is_told_of(tmp_path):
    fnnet.serving.export(NET, PARAMS, SHAPE, tmp_path / "file", platforms=["tpu"])
    with pytest.raises(ValueError, match=r"the program cannot be run: .*tpu"):
        load(tmp_path / "file")(images(1))


def one_line(capsys):
    err = capsys.readouterr().err
    assert err.startswith("fnnet: ")
    assert err.count("\n") == 1
    return err


def test_on_the_command_line(tmp_path, capsys):
    with jax.numpy_dtype_promotion("standard"):
        assert main(["train", "--net", "mlp", "--epochs", "1", "--output", str(tmp_path / "run")]) == 0
    from PIL import Image

    xs, _ = data.digits().test
    digit = tmp_path / "digit.png"
    Image.fromarray(np.uint8(xs[0, ..., 0] * 255)).resize((80, 80), Image.Resampling.NEAREST).save(digit)
    capsys.readouterr()
    assert main(["export", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith(f"exported: {tmp_path / 'run' / 'network.fnnet'}, ")
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "one"), "--platforms", "cpu,tpu"]) == 0
    assert load(tmp_path / "one").platforms == ("cpu", "tpu")
    capsys.readouterr()
    printed = []
    for path in ("run", "run/network.fnnet", "one"):
        assert main(["predict", str(tmp_path / path), str(digit)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0].startswith(f"{digit}: ")
    assert printed[0] == printed[1] == printed[2]
    run = runs.load(tmp_path / "run")
    probabilities = np.asarray(run(xs[:50]))
    np.testing.assert_allclose(load(tmp_path / "one")(xs[:50]), probabilities, rtol=1e-4, atol=1e-6)
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "exists already" in one_line(capsys)
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "two"), "--platforms", "abacus"]) == 2
    assert "platforms has 'abacus'" in one_line(capsys)
