"""Checkpoints: named trees of arrays and a configuration, in a directory that is written whole or not at all.

    weights.safetensors   the arrays, each under its path in the trees: "params/conv_0/kernel"
    manifest.json         format version, configuration, each array's shape, dtype and SHA-256, and the manifest's own

No code runs on loading. Format of the weights: https://github.com/huggingface/safetensors
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

FORMAT = "fnnet checkpoint"
VERSION = 1
WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
MANIFEST_LIMIT = 1 << 26  # bytes: more than any network's, and bounded
DTYPES = {  # as safetensors calls them
    **{"bool": "BOOL", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"},
    **{f"{sign}int{bits}": f"{'U' if sign else 'I'}{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
}


def save(directory: str | os.PathLike[str], trees: Mapping[str, Any], *, config: Mapping[str, Any]) -> Path:
    """Write a checkpoint.

    It is written beside its place, flushed to the disk, and then renamed: whatever happens, `directory` is whole or is
    not there.

    Args:
        directory: Where it goes. It must not exist; the directory that holds it must.
        trees: {"params": params, ...}: for each name a tree of arrays, or one array.
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
    arrays = _by_path(trees)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "config": config,
        "arrays": {path: _described(array) for path, array in arrays.items()},
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
    partial = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        _write(partial / WEIGHTS, weights)
        _write(partial / MANIFEST, text.encode())
        _flush(partial)
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _flush(directory.parent)
    return directory


def load(directory: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint, and compare every array with its manifest.

    Returns:
        The trees, as nested dictionaries of NumPy arrays whose keys are the steps of the paths (`restore` gives them
        their structure back), and the configuration.

    Raises:
        ValueError: A file is missing, damaged, of another format version, or says something else than the manifest;
            the message names the file.
    """
    import safetensors

    manifest = _read_manifest(Path(directory) / MANIFEST)
    file = Path(directory) / WEIGHTS
    try:
        if (size := file.stat().st_size) != manifest["bytes"]:
            raise ValueError(f"load: {file} has {size} bytes; its manifest says {manifest['bytes']}")
        found = dict(safetensors.deserialize(file.read_bytes()))
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"load: {file} cannot be read: {error}") from None
    if faults := _differences(manifest["arrays"], found):
        raise ValueError(f"load: {file} is not what its manifest says: {'; '.join(faults)}")
    arrays = {path: _checked(file, path, entry, found[path]) for path, entry in manifest["arrays"].items()}
    return _nested(file, arrays), manifest["config"]


def restore(tree: Any, like: Any, *, name: str = "params") -> Any:
    """The arrays of `tree`, as `load` gave it, in the structure of `like`; all of them fit, or nothing is loaded.

    Args:
        tree: Nested dictionaries of arrays.
        like: A tree of arrays, or of `jax.ShapeDtypeStruct`, as the network wants it.
        name: What the tree is called in errors.

    Raises:
        ValueError: It lists the paths that are missing, unexpected, or of another shape or dtype.
    """
    found, wanted = _paths({name: tree}), _paths({name: like})
    faults = _differences(wanted, found)
    for path in wanted.keys() & found.keys():
        if (has := _text(found[path])) != (wants := _text(wanted[path])):
            faults.append(f"{path} is {has}, but {wants} is wanted")
    if faults:
        raise ValueError(f"restore: {name} does not fit the network: {'; '.join(sorted(faults))}")
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(found[path]) for path in wanted])


def _read_manifest(file: Path) -> dict[str, Any]:
    """The manifest, checked as far as it can be without the weights."""
    try:
        if (size := file.stat().st_size) > MANIFEST_LIMIT:
            raise ValueError(f"load: {file} has {size} bytes, more than the {MANIFEST_LIMIT} of any manifest")
        text = file.read_bytes()
    except OSError as error:
        raise ValueError(f"load: {file} cannot be read: {error.strerror}") from None
    try:
        manifest = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"load: {file} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"load: {file} is not the manifest of an fnnet checkpoint")
    if (version := manifest.get("version")) != VERSION:
        raise ValueError(f"load: {file} has format version {version!r}; this fnnet reads version {VERSION}")
    sealed = {key: value for key, value in manifest.items() if key != "sha256"}
    if manifest.get("sha256") != _digest(sealed):
        raise ValueError(f"load: {file} is damaged: its SHA-256 is not the one that it states")
    if not _has_form(manifest):
        raise ValueError(f"load: {file} lacks what version {VERSION} must have, or has it in another form")
    return manifest


def _has_form(manifest: Mapping[str, Any]) -> bool:
    """Whether everything that `load` reads is there and of the right type."""
    arrays = manifest.get("arrays")
    return (
        isinstance(manifest.get("config"), dict)
        and isinstance(manifest.get("bytes"), int)
        and isinstance(arrays, dict)
        and all(isinstance(entry, dict) and entry.keys() == {"shape", "dtype", "sha256"} for entry in arrays.values())
        and all(isinstance(entry["shape"], list) and entry["dtype"] in DTYPES for entry in arrays.values())
    )


def _checked(file: Path, path: str, entry: Mapping[str, Any], view: Mapping[str, Any]) -> np.ndarray:
    """One array out of the weights, if it is what the manifest says."""
    code, dtype = DTYPES[entry["dtype"]], entry["dtype"]
    if (view["dtype"], list(view["shape"])) != (code, entry["shape"]):
        found = f"{view['dtype']} of shape {tuple(view['shape'])}"
        raise ValueError(f"load: {file}: {path} is {found}; the manifest says {dtype} of shape {tuple(entry['shape'])}")
    if hashlib.sha256(view["data"]).hexdigest() != entry["sha256"]:
        raise ValueError(f"load: {file}: {path} is damaged: its SHA-256 is not the manifest's")
    return np.frombuffer(view["data"], np.dtype(dtype)).reshape(entry["shape"])


def _described(array: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def _by_path(trees: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every array under its path, in NumPy, little-endian and row by row."""
    arrays = {}
    for path, leaf in _paths(trees).items():
        array = np.asarray(leaf, order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if array.dtype.name not in DTYPES:
            raise ValueError(f"save: {path} has dtype {array.dtype}; it must be one of {', '.join(DTYPES)}")
        arrays[path] = array
    return arrays


def _paths(trees: Mapping[str, Any]) -> dict[str, Any]:
    """Every leaf under its path: the keys, indices and fields on the way to it, joined by "/"."""
    leaves = {}
    for path, leaf in jax.tree.leaves_with_path(dict(trees)):
        steps = [jax.tree_util.keystr((step,), simple=True) for step in path]
        name = "/".join(steps)
        if any(not step or "/" in step for step in steps) or name in leaves:
            raise ValueError(f"save: trees: the path {steps} has a key that is empty, holds a '/' or is there twice")
        leaves[name] = leaf
    return leaves


def _nested(file: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    trees: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, last = path.split("/")
        node = trees
        for step in parents:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                raise ValueError(f"load: {file}: {path} goes through another array")
        if last in node:
            raise ValueError(f"load: {file}: {path} is an array and has arrays below it")
        node[last] = array
    return trees


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The paths that are missing, and those that are too many."""
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    return [f"{path} is missing" for path in missing] + [f"{path} is unexpected" for path in unexpected]


def _text(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest's contents, whatever its white space."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _write(file: Path, data: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _flush(directory: Path) -> None:
    """The names in a directory are on the disk, too (Windows has no such call)."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
