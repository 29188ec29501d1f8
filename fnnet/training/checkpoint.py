"""Checkpoints: named trees of arrays and a configuration, in a directory that is written whole or not at all.

    weights.safetensors   the arrays, each under its path in the trees: "params/conv_0/kernel"
    manifest.json         format version, configuration, each array's shape, dtype and SHA-256, and the manifest's own

A key of `jax.random` is its words, with the name of its implementation in the manifest (from format version 2 on).

No code runs on loading. Format of the weights: https://github.com/huggingface/safetensors
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnnet.core import atomic
from fnnet.core.paths import nested_dictionary

FORMAT = "fnnet checkpoint"
VERSION, READ = 2, (1, 2)  # what is written, and what is read
WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
MANIFEST_LIMIT = 1 << 26  # bytes: more than any network's, and bounded
NAMED = 6  # faults that an error names
DEEPEST = 100  # steps of a path: JAX walks through trees by recursion, and a crash is no error message
DTYPES = {  # as safetensors calls them
    **{"bool": "BOOL", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"},
    **{f"{sign}int{bits}": f"{'U' if sign else 'I'}{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
}


def save(directory: str | os.PathLike[str], trees: Mapping[str, Any], *, config: Mapping[str, Any]) -> Path:
    """Write a checkpoint.

    Whatever happens, `directory` is whole or does not exist (`fnnet.core.atomic`).

    Args:
        directory: Where it goes. It must not exist; the directory that holds it must.
        trees: {"params": params, ...}: for each name a tree of arrays and keys, or one of them.
        config: What is needed to rebuild the network: anything that JSON holds.

    Returns:
        The directory.

    Raises:
        FileExistsError: There is something already.
        ValueError: A dtype that safetensors has not, a dictionary key that is empty or holds a "/", a configuration
            that is not JSON.
    """
    import safetensors.numpy

    directory = Path(directory)
    leaves = paths(trees)
    arrays = {path: _plain(path, leaf) for path, leaf in leaves.items()}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "config": config,
        "arrays": {path: _described(array) | _implementation(leaves[path]) for path, array in arrays.items()},
    }
    weights = safetensors.numpy.save(arrays)
    manifest["bytes"] = len(weights)
    try:
        manifest["sha256"] = _digest(manifest)
        text = json.dumps(manifest, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"save: config (={config!r}) must be JSON: {error}") from None
    if directory.exists():
        raise FileExistsError(f"save: {directory} exists already")
    atomic.write_directory(directory, {WEIGHTS: weights, MANIFEST: text.encode()})
    return directory


def load(directory: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint, and compare every array with its manifest.

    Returns:
        The trees, as nested dictionaries of NumPy arrays (and keys of `jax.random`) by the steps of their paths
        (`restore` gives them their structure back), and the configuration.

    Raises:
        ValueError: A file is missing, damaged, of another format version, or says something else than the manifest;
            the message names the file.
    """
    import safetensors

    manifest = _read_manifest(Path(directory) / MANIFEST)
    file = Path(directory) / WEIGHTS
    try:
        if (size := _size(file)) != manifest["bytes"]:
            raise ValueError(f"load: {file} has {size} bytes; its manifest says {manifest['bytes']}")
        found = dict(safetensors.deserialize(file.read_bytes()))
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"load: {file} cannot be read: {error}") from None
    if faults := _differences(manifest["arrays"], found):
        raise ValueError(f"load: {file} is not what its manifest says: {_some(faults)}")
    arrays = {path: _checked(file, path, entry, found[path]) for path, entry in manifest["arrays"].items()}
    return nested(file, arrays), manifest["config"]


def restore(tree: Any, like: Any, *, name: str = "params") -> Any:
    """The arrays of `tree`, as `load` gave it, in the structure of `like`; all of them fit, or nothing is loaded.

    Args:
        tree: Nested dictionaries of arrays.
        like: A tree of arrays, or of `jax.ShapeDtypeStruct`, as the network wants it.
        name: What the tree is called in errors; "" for all trees of a checkpoint at once.

    Raises:
        ValueError: It lists paths that are missing, unexpected, or of another shape or dtype, at most NAMED of them.
    """
    found, wanted = paths({name: tree} if name else tree), paths({name: like} if name else like)
    faults = _differences(wanted, found)
    for path in wanted.keys() & found.keys():
        if (has := _text(found[path])) != (wants := _text(wanted[path])):
            faults.append(f"{path} is {has}, but {wants} is wanted")
    if faults:
        faults.sort(key=lambda fault: (not fault.startswith("params/"), fault))  # the network first: others follow it
        what = f"{name} does not fit the network" if name else "the checkpoint does not fit"
        raise ValueError(f"restore: {what}: {_some(faults)}")
    leaves = [found[path] if _is_key(found[path]) else jax.numpy.array(found[path]) for path in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _read_manifest(file: Path) -> dict[str, Any]:
    """The manifest, checked as far as it can be without the weights."""
    try:
        if (size := _size(file)) > MANIFEST_LIMIT:
            raise ValueError(f"load: {file} has {size} bytes, more than the {MANIFEST_LIMIT} of any manifest")
        text = file.read_bytes()
    except OSError as error:
        raise ValueError(f"load: {file} cannot be read: {error.strerror}") from None
    try:
        manifest = json.loads(text, parse_constant=_not_json)
        digest = _digest({key: value for key, value in dict(manifest).items() if key != "sha256"})
    except (TypeError, ValueError, RecursionError) as error:  # also 1e999, a list, and brackets without end
        raise ValueError(f"load: {file} is not a JSON object: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"load: {file} is not the manifest of an fnnet checkpoint")
    if (version := manifest.get("version")) not in READ:
        versions = " and ".join(map(str, READ))
        raise ValueError(f"load: {file} has format version {version!r}; this fnnet reads versions {versions}")
    if manifest.get("sha256") != digest:
        raise ValueError(f"load: {file} is damaged: its SHA-256 is not the one that it states")
    if not _has_form(manifest):
        raise ValueError(f"load: {file} lacks what version {version} must have, or has it in another form")
    return manifest


def _size(file: Path) -> int:
    """Bytes in a plain file: a link to a device would have 0, and never end."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"load: {file} is not a plain file")
    return status.st_size


def _has_form(manifest: Mapping[str, Any]) -> bool:
    """Whether everything that `load` reads is there and of the right type."""
    arrays = manifest.get("arrays")
    entries = arrays.values() if isinstance(arrays, dict) else ()
    return (
        isinstance(manifest.get("config"), dict)
        and isinstance(manifest.get("bytes"), int)
        and isinstance(arrays, dict)
        and all(isinstance(entry, dict) and entry.keys() - {"key"} == {"shape", "dtype", "sha256"} for entry in entries)
        and all(isinstance(entry["shape"], list) and _is_dtype(entry["dtype"]) for entry in entries)
        and all(isinstance(entry.get("key", ""), str) for entry in entries)
    )


def _is_dtype(name: Any) -> bool:
    return isinstance(name, str) and name in DTYPES


def _checked(file: Path, path: str, entry: Mapping[str, Any], view: Mapping[str, Any]) -> Any:
    """One array out of the weights, if it is what the manifest says."""
    code, dtype = DTYPES[entry["dtype"]], entry["dtype"]
    if (view["dtype"], list(view["shape"])) != (code, entry["shape"]):
        found = f"{view['dtype']} of shape {tuple(view['shape'])}"
        raise ValueError(f"load: {file}: {path} is {found}; the manifest says {dtype} of shape {tuple(entry['shape'])}")
    if hashlib.sha256(view["data"]).hexdigest() != entry["sha256"]:
        raise ValueError(f"load: {file}: {path} is damaged: its SHA-256 is not the manifest's")
    array = np.frombuffer(view["data"], np.dtype(dtype)).reshape(entry["shape"])
    if "key" not in entry:
        return array
    try:
        return jax.random.wrap_key_data(jax.numpy.asarray(array), impl=entry["key"])
    except (TypeError, ValueError):
        raise ValueError(f"load: {file}: {path} is {_text(array)}, which is no key of {entry['key']!r}") from None


def _described(array: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def _plain(path: str, leaf: Any) -> np.ndarray:
    """A leaf in NumPy, little-endian and row by row; of a key its words."""
    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order="C")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype.name not in DTYPES:
        raise ValueError(f"save: {path} has dtype {array.dtype}; it must be one of {', '.join(DTYPES)}")
    return array


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _implementation(leaf: Any) -> dict[str, str]:
    return {"key": str(jax.random.key_impl(leaf))} if _is_key(leaf) else {}


def paths(trees: Mapping[str, Any]) -> dict[str, Any]:
    """Every leaf under its path: the keys, indices and fields on the way to it, joined by "/"."""
    leaves = {}
    for path, leaf in jax.tree.leaves_with_path(dict(trees)):
        steps = [jax.tree_util.keystr((step,), simple=True) for step in path]
        name = "/".join(steps)
        if any(not step or "/" in step for step in steps) or name in leaves:
            raise ValueError(f"save: trees: the path {steps} has a key that is empty, holds a '/' or is there twice")
        leaves[name] = leaf
    return leaves


def nested(file: Path, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays as dictionaries by the steps of their paths."""
    for path in arrays:
        if path.count("/") > DEEPEST:
            raise ValueError(f"load: {file}: the path {path[:80]}... has more than {DEEPEST} steps")
    try:
        return nested_dictionary(arrays.items())
    except ValueError as error:
        raise ValueError(f"load: {file}: {error}") from None


def _some(faults: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = [f"and {len(faults) - NAMED} more"] if len(faults) > NAMED else []
    return "; ".join(faults[:NAMED] + more)


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The paths that are missing, and those that are too many."""
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    return [f"{path} is missing" for path in missing] + [f"{path} is unexpected" for path in unexpected]


def _text(array: Any) -> str:
    name = str(array.dtype) if _is_key(array) else np.dtype(array.dtype).name
    return f"{name}{list(array.shape)}"


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest's contents, whatever its white space."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
