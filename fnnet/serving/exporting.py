"""A trained network written into one file: its program for any size of mini-batch, lowered, with the weights in it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from fnnet.core import atomic
from fnnet.layers.arguments import example_shape
from fnnet.serving.exported import FIRST_LINE, FLOATING, MOST_MANIFEST

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(
    net: Any,
    params: Any,
    shape: Sequence[int],
    file: str | os.PathLike[str],
    *,
    output: Callable | None = None,
    classes: Sequence[str] = (),
    platforms: Sequence[str] = PLATFORMS,
    dtype: Any = None,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write the network as a program (StableHLO) that runs without the code of the network.

    It is lowered for each platform, whether such a device is here or not: for GPUs and TPUs with XLA's own
    convolutions. The number of examples stays open. It is written whole or not at all.

    Args:
        net: Has `apply(params, x) -> output` for one example.
        params: Its parameters, which become constants of the program.
        shape: The shape of one example.
        file: Where it goes; it must not exist.
        output: A function of the output of one example, such as `fnnet.softmax`.
        classes: Names of the outputs, for those who read them.
        platforms: Some of "cpu", "cuda", "rocm", "tpu".
        dtype: Of the examples: float32, float64 or float16; int32 where an `Embedding` comes first. None means float32
            or int32.
        notes: What else a reader of the file may want to know, such as {"pixels": "0 to 1"}.

    Returns:
        The file.

    Raises:
        FileExistsError: There is something already.
        ValueError: A platform is unknown, a name cannot be printed, or the network gives several arrays.
        TypeError: The dtype is another one.
    """
    file, shape, own = Path(file), example_shape("export", shape), getattr(net, "example_dtype", None)
    allowed = [jnp.dtype(name).name for name in (FLOATING if own is None else (own,))]
    dtype = jnp.dtype(allowed[0] if dtype is None else dtype)
    if dtype.name not in allowed:
        raise TypeError(f"export: dtype (={dtype.name}) must be {' or '.join(allowed)} for this network")
    if unknown := [name for name in platforms if name not in PLATFORMS] or ([] if platforms else ["none"]):
        raise ValueError(f"export: platforms has {unknown[0]!r}; it must have some of {', '.join(PLATFORMS)}")
    names = [str(name) for name in classes]
    if strange := [name for name in names if not name.isprintable()]:
        raise ValueError(f"export: classes has {strange[0]!r}, which cannot be printed")
    notes = {} if notes is None else dict(notes)
    texts = [text for pair in notes.items() for text in pair]
    if strange := [text for text in texts if not isinstance(text, str) or not text.isprintable()]:
        raise ValueError(f"export: notes has {strange[0]!r}; it must have strings that can be printed")
    if file.exists():
        raise FileExistsError(f"export: {file} exists already")

    def one(x: Any) -> Any:
        y = net.apply(params, x)
        return y if output is None else output(y)

    sizes = jax_export.symbolic_shape(", ".join(["batch", *map(str, shape)]))
    lowered = jax_export.export(jax.jit(jax.vmap(one)), platforms=tuple(dict.fromkeys(platforms)))
    with _without_paths():
        program = lowered(jax.ShapeDtypeStruct(sizes, dtype))
    if len(program.out_avals) != 1:
        raise ValueError(f"export: net must give one array; it gives {len(program.out_avals)}")
    data = bytes(program.serialize())
    manifest = {
        "shape": list(shape),
        "dtype": dtype.name,
        "platforms": list(program.platforms),
        "classes": names,
        "notes": notes,
        "jax": jax.__version__,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    line = json.dumps(manifest).encode() + b"\n"
    if len(line) > MOST_MANIFEST:
        raise ValueError(f"export: classes: {len(line)} bytes of names are more than the {MOST_MANIFEST} of a manifest")
    try:
        atomic.write_file(file, FIRST_LINE + line + data, replace=False)
    except FileExistsError:
        raise FileExistsError(f"export: {file} exists already") from None
    return file


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
    """A program names the file of each operation; an exported one must not hold paths of this machine."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
