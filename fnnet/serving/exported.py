"""An exported network, read from its file and run. This page needs jax and NumPy alone: it may be copied and used so.

    fnnet export 1      a line: what it is, and the format's version
    {...}               a line of JSON: the manifest
    ...                 the program, as `jax.export` serialises it

The program is a function of one array (batch, *shape), batch being any number; the weights are constants in it. The
manifest has "shape" and "dtype" of an example, "platforms", "classes" (names of the outputs, or none), "jax", the
version that wrote it, and "bytes" and "sha256" of the program; it may have "notes", strings by name.
"""

import functools
import hashlib
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import custom_batching
from jax import export as jax_export

FIRST_LINE = b"fnnet export 1\n"
MOST_MANIFEST = 1 << 20  # bytes
MOST_ENTRIES = 1 << 28  # of an example
FLOATING = ("float32", "float64", "float16")  # dtypes of examples; int32 is one, too
FORM = {"shape": list, "dtype": str, "platforms": list, "classes": list, "jax": str, "bytes": int, "sha256": str}
OWN_CALLS = {"shape_assertion"}  # what jax.export itself calls, to check the batch's size
# XLA on CPUs computes some fused products and sums wrongly: fnnet's docs/xla_faults.md. With this it fuses none.
ALONE = ",".join(f"LIBRARY_FUSION_TYPE_INDIVIDUAL_{operation}" for operation in ("DOT", "CONVOLUTION"))
SAFE = {"xla_cpu_experimental_ynn_fusion_type": ALONE}


class Exported:
    """A network as a function of a mini-batch.

    It works inside `jax.jit`, `jax.lax.scan` and `jax.vmap`. It has no derivatives: the file holds the forward alone.

    Attributes:
        shape: Of one example.
        dtype: Of the examples.
        platforms: Where it runs: some of "cpu", "cuda", "rocm", "tpu".
        classes: Names of the outputs; () where none were given.
        notes: What else was said of it; {} where nothing was.
    """

    def __init__(self, program: Any, manifest: dict[str, Any]):
        """See `load`."""
        self.shape, self.dtype = tuple(manifest["shape"]), np.dtype(manifest["dtype"])
        self.platforms, self.classes = tuple(manifest["platforms"]), tuple(manifest["classes"])
        self.notes: dict[str, str] = dict(manifest.get("notes", {}))
        self._program = program.call
        self._run = jax.jit(program.call)
        self._traced = self._transformable()

    def __call__(self, xs: Any) -> jax.Array:
        """The outputs of a mini-batch (batch, *shape), each number of examples compiled once.

        Other floating dtypes are cast to that of the examples; other integers, where these are integers.

        Raises:
            ValueError: xs has another shape or no example, or the program cannot be run, such as on another platform.
            TypeError: xs is no array of floating numbers (or of integers), or a derivative is taken.
        """
        xs = self._checked(xs)
        if any(isinstance(array, jax.core.Tracer) for array in (xs, jnp.zeros(()))):  # inside jit, or mapped
            return self._traced(xs)
        run = self._run_on_cpu if {device.platform for device in xs.devices()} == {"cpu"} else self._run
        try:
            return run(xs)
        except Exception as error:  # of JAX, of many classes: another platform, or a program that no compiler takes
            raise ValueError(f"Exported: the program cannot be run: {_first_line(error)}") from error

    def _checked(self, xs: Any) -> jax.Array:
        """The mini-batch as an array of the due shape and dtype."""
        try:
            xs = jnp.asarray(xs)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"Exported: xs must be an array of {self.dtype}: {_first_line(error)}") from None
        batch, given = xs.ndim - len(self.shape), f"Exported: xs of shape {xs.shape}"
        if batch < 0 or xs.shape[batch:] != self.shape:
            raise ValueError(f"{given} must have shape {('batch', *self.shape)}")
        if batch == 0:
            raise ValueError(f"{given} is one example: add a batch axis, xs[None], or call it without jax.vmap")
        if batch > 1:
            raise ValueError(f"{given} must have one batch axis: xs.reshape{(-1, *self.shape)}")
        if xs.shape[0] == 0:
            raise ValueError(f"{given} must have at least one example")
        if jnp.issubdtype(self.dtype, jnp.integer):
            if not jnp.issubdtype(xs.dtype, jnp.integer):
                raise TypeError(f"Exported: xs of dtype {xs.dtype} must be integers")
        elif not jnp.issubdtype(xs.dtype, jnp.floating):
            scale = "scaled as in training: xs / 255 if that was on images of 0 to 1"
            raise TypeError(f"Exported: xs of dtype {xs.dtype} must be {self.dtype}, {scale}")
        if jax.dtypes.canonicalize_dtype(self.dtype) != self.dtype:
            raise ValueError(f"Exported: a network of {self.dtype} needs jax.config.update('jax_enable_x64', True)")
        return xs.astype(self.dtype)

    @functools.cached_property
    def _run_on_cpu(self) -> Any:
        """`_run` with the options against wrong fusions, where this version of XLA knows them."""
        try:
            with jax.default_device(jax.local_devices(backend="cpu")[0]):
                jax.jit(lambda: 0, compiler_options=SAFE)()
        except jax.errors.JaxRuntimeError:
            return self._run
        return jax.jit(self._program, compiler_options=SAFE)

    def _transformable(self) -> Any:
        """The program inside a caller's transformations, where JAX takes no options for the compiler."""

        @custom_batching.custom_vmap
        def batched(xs: jax.Array) -> jax.Array:
            return self._program(xs)

        @batched.def_vmap
        def merged(size: int, is_mapped: Any, xs: Any) -> tuple[jax.Array, bool]:
            ys = self(xs.reshape(-1, *self.shape))
            return ys.reshape(*xs.shape[:2], *ys.shape[1:]), True

        @jax.custom_jvp
        def run(xs: jax.Array) -> jax.Array:
            return batched(xs)

        @run.defjvp
        def derivative(primals: Any, tangents: Any) -> Any:
            raise TypeError(
                "Exported: an exported network is the forward pass alone and has no derivative: differentiate "
                "net.apply(params, x), or pass jax.lax.stop_gradient(xs)"
            )

        return run


def load(file: str | os.PathLike[str]) -> Exported:
    """The network in a file that `export` wrote.

    A checksum finds damage. It does not find malice: an exported network is a program, and one from a stranger is a
    stranger's program, though it can only compute; calls of other libraries are refused.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, of another format, or holds another kind of program.
    """
    file = Path(file)
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError(f"load: {file} is not a plain file")
    with file.open("rb") as stream:
        if stream.read(len(FIRST_LINE)) != FIRST_LINE:
            raise ValueError(f"load: {file} is not an exported network: it must begin with 'fnnet export 1'")
        line = stream.readline(MOST_MANIFEST)
        program = stream.read()
    manifest = _manifest(file, line)
    if len(program) != manifest["bytes"] or hashlib.sha256(program).hexdigest() != manifest["sha256"]:
        raise ValueError(f"load: {file} is damaged: its program is not the one of its manifest")
    return Exported(_program(file, program, manifest), manifest)


def _manifest(file: Path, line: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"load: {file} is damaged: its manifest is not JSON: {error}") from None
    if not isinstance(manifest, dict) or any(type(manifest.get(name)) is not kind for name, kind in FORM.items()):
        raise ValueError(f"load: {file}: its manifest must have {', '.join(FORM)}")
    if not isinstance(notes := manifest.get("notes", {}), dict):
        raise ValueError(f"load: {file}: its manifest must have a dictionary of notes")
    shape, names = manifest["shape"], [*manifest["platforms"], *manifest["classes"], *notes, *notes.values()]
    if any(type(size) is not int or size < 1 for size in shape) or math.prod(shape) > MOST_ENTRIES:
        raise ValueError(f"load: {file}: its manifest has a shape {str(shape)[:80]} that no example has")
    if any(not isinstance(name, str) or not name.isprintable() for name in names):
        raise ValueError(f"load: {file}: its manifest has names of platforms or classes that cannot be printed")
    if manifest["dtype"] not in (*FLOATING, "int32"):
        raise ValueError(f"load: {file}: its manifest has a dtype {manifest['dtype'][:80]!r} that examples have not")
    return manifest


def _program(file: Path, data: bytes, manifest: dict[str, Any]) -> Any:
    """The program, if it is a function of one such mini-batch and calls nothing."""
    try:
        program = jax_export.deserialize(bytearray(data))
        text = program.mlir_module()
        inputs, outputs = program.in_avals, program.out_avals
        shapes = [(tuple(map(str, array.shape[1:])), str(array.dtype)) for array in inputs]
    except Exception as error:  # the readers of jax.export and MLIR have no common class for what they raise
        versions = f"jax {jax.__version__} cannot read its program, written by jax {manifest['jax'][:40]}"
        raise ValueError(f"load: {file}: {versions}: {_first_line(error)}") from None
    if shapes != [(tuple(map(str, manifest["shape"])), manifest["dtype"])] or len(outputs) != 1:
        raise ValueError(f"load: {file}: its program is not a function of one mini-batch of the manifest's shape")
    if calls := set(re.findall(r"custom_call\s*@(\w+)", text)) | set(re.findall(r'call_target_name = "(\w+)', text)):
        if strange := sorted(calls - OWN_CALLS):
            raise ValueError(
                f"load: {file}: its program calls {', '.join(strange)[:200]}, which is no part of a network"
            )
    if tuple(manifest["platforms"]) != tuple(program.platforms):
        raise ValueError(f"load: {file}: its program is for {program.platforms}, its manifest for other platforms")
    return program


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
