"""Checkpoints: what is saved comes back bit for bit, and every fault is a ValueError that names the file."""

import hashlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from fnnet.training import checkpoint

CONFIG = {"net": "lenet", "shape": [8, 8, 1], "learning_rate": 1e-3, "note": None}


@jax.tree_util.register_pytree_with_keys_class
class Twice:
    """A node both of whose children have the same key."""

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.DictKey("b"), np.ones(2))] * 2, None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls()


def trees():
    rng = np.random.default_rng(0)
    params = {
        "conv_0": {"kernel": rng.normal(size=(3, 3, 1, 2)).astype(np.float32), "bias": jnp.ones(2, jnp.bfloat16)},
        "dense_2": {"kernel": rng.normal(size=(5, 3)).T},  # not row by row in memory
        "empty": np.zeros((0, 4), np.float16),
    }
    return {"params": params, "optimizer": optax.adam(1e-3).init({"w": jnp.ones(3)}), "step": jnp.int32(7)}


@pytest.fixture
def saved(tmp_path):
    return checkpoint.save(tmp_path / "checkpoint", trees(), config=CONFIG)


def same_bits(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (a.shape, a.dtype, np.asarray(a).tobytes()) == (b.shape, b.dtype, np.asarray(b).tobytes())


def test_what_is_saved_comes_back(saved):
    found, config = checkpoint.load(saved)
    assert config == CONFIG
    assert found.keys() == {"params", "optimizer", "step"}
    same_bits(found["params"], trees()["params"])
    same_bits(checkpoint.restore(found["optimizer"], trees()["optimizer"], name="optimizer"), trees()["optimizer"])
    assert found["step"] == 7


@pytest.mark.parametrize("name", sorted(checkpoint.DTYPES))
def test_every_dtype_comes_back(name, tmp_path):
    array = np.random.default_rng(1).integers(0, 2, (3, 2)).astype(jnp.dtype(name))
    checkpoint.save(tmp_path / "checkpoint", {"a": array}, config={})
    same_bits(checkpoint.load(tmp_path / "checkpoint")[0], {"a": array})


def test_big_endian_arrays_are_written_as_little_endian(tmp_path):
    checkpoint.save(tmp_path / "checkpoint", {"a": np.arange(3, dtype=">i4")}, config={})
    same_bits(checkpoint.load(tmp_path / "checkpoint")[0], {"a": np.arange(3, dtype="<i4")})


def test_the_weights_are_a_plain_safetensors_file(tmp_path):
    kernel = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    checkpoint.save(tmp_path / "checkpoint", {"params": {"dense_0": {"kernel": kernel}}}, config={})
    found = safetensors.numpy.load_file(tmp_path / "checkpoint" / "weights.safetensors")
    same_bits(found, {"params/dense_0/kernel": kernel})
    manifest = json.loads((tmp_path / "checkpoint" / "manifest.json").read_text())
    entry = {"shape": [4, 3], "dtype": "float32", "sha256": hashlib.sha256(kernel.tobytes()).hexdigest()}
    assert manifest["version"] == 2
    assert manifest["arrays"] == {"params/dense_0/kernel": entry}


def test_nothing_is_overwritten_and_nothing_left_beside(saved):
    before = (saved / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        checkpoint.save(saved, {"a": np.ones(2)}, config={})
    assert (saved / "manifest.json").read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]


def test_a_failure_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path / "checkpoint", trees(), config=CONFIG)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tree", "config", "message"),
    [
        ({"a/b": np.ones(2)}, {}, "holds a '/'"),
        ({"a": {"": np.ones(2)}}, {}, "empty"),
        ({"a": Twice()}, {}, "there twice"),
        ({"a": np.ones(2, np.complex64)}, {}, "a has dtype complex64; it must be one of bool, float16"),
        ({"a": np.ones(2)}, {"x": object()}, "must be JSON"),
        ({"a": np.ones(2)}, {"x": float("nan")}, "must be JSON"),
    ],
)
def test_what_cannot_be_saved_is_refused(tree, config, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        checkpoint.save(tmp_path / "checkpoint", tree, config=config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_a_flipped_bit_in_any_byte_is_found(saved, name):
    file = saved / name
    whole = file.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        file.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"manifest\.json|weights\.safetensors"):
            checkpoint.load(saved)
    file.write_bytes(whole)
    checkpoint.load(saved)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_a_truncated_or_missing_file_is_named(saved, name):
    file = saved / name
    whole = file.read_bytes()
    for length in range(0, len(whole), 97):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=name):
            checkpoint.load(saved)
    file.unlink()
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        checkpoint.load(saved)


def resealed(directory, change):
    """Change the manifest as somebody would who knows how to seal it."""
    manifest = json.loads((directory / "manifest.json").read_text())
    change(manifest)
    del manifest["sha256"]
    manifest["sha256"] = checkpoint._digest(manifest)
    (directory / "manifest.json").write_text(json.dumps(manifest))


KERNEL = "params/conv_0/kernel"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=3), "format version 3; this fnnet reads versions 1 and 2"),
        (lambda m: m.update(version=[1]), "format version"),
        (lambda m: m.update(format="other"), "not the manifest of an fnnet checkpoint"),
        (
            lambda m: m["arrays"][KERNEL].update(shape=[9, 2]),
            f"{KERNEL} is F32 of shape .3, 3, 1, 2.; .* says .* .9, 2.",
        ),
        (lambda m: m["arrays"][KERNEL].update(dtype="int32"), f"{KERNEL} is F32"),
        (lambda m: m["arrays"][KERNEL].update(sha256="0" * 64), f"{KERNEL} is damaged"),
        (lambda m: m["arrays"].pop(KERNEL), f"{KERNEL} is unexpected"),
        (lambda m: m["arrays"].update(more=m["arrays"][KERNEL]), "more is missing"),
        (lambda m: m.update(bytes=3), "its manifest says 3"),
        (lambda m: m.update(arrays=[]), "another form"),
        (lambda m: m["arrays"][KERNEL].update(dtype="object"), "another form"),
        (lambda m: m["arrays"][KERNEL].update(dtype=["float32"]), "another form"),
        (lambda m: m["arrays"][KERNEL].update(key=1), "another form"),
        (lambda m: m["arrays"][KERNEL].update(key="threefry2x32"), f"{KERNEL} is float32.*no key of 'threefry2x32'"),
        (lambda m: m.pop("config"), "another form"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(saved, change, message):
    resealed(saved, change)
    with pytest.raises(ValueError, match=message):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "NaN", "7", '{"a": 1e999}', '{"format": "fnnet checkpoint", "version": 1}', "[" * 100_000]
)
def test_anything_else_in_the_place_of_the_manifest_is_refused(saved, text):
    (saved / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        checkpoint.load(saved)


def test_a_path_without_end_is_refused(tmp_path):
    deep = {"/".join("a" * 200_000): np.ones(2)}
    weights = safetensors.numpy.save(deep)
    saved = checkpoint.save(tmp_path / "a", {"a": np.ones(2)}, config={})
    (saved / "weights.safetensors").write_bytes(weights)

    def deepen(manifest):
        manifest["arrays"] = {path: manifest["arrays"]["a"] for path in deep}
        manifest["bytes"] = len(weights)

    resealed(saved, deepen)
    with pytest.raises(ValueError, match="more than 100 steps"):
        checkpoint.load(saved)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_a_link_to_a_device_is_refused(saved, name):
    (saved / name).unlink()
    (saved / name).symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=f"{name} is not a plain file"):
        checkpoint.load(saved)


def test_version_1_is_still_read(saved):
    resealed(saved, lambda manifest: manifest.update(version=1))
    assert checkpoint.load(saved)[1] == CONFIG


def test_paths_that_run_through_an_array_are_refused(tmp_path):
    for name, tree in (("flat", {"a": np.ones(2)}), ("deep", {"a": {"b": np.ones(2)}})):
        checkpoint.save(tmp_path / name, tree, config={})
    both = {"a": np.ones(2), "a/b": np.ones(2)}
    weights = safetensors.numpy.save(both)
    shutil.copytree(tmp_path / "flat", tmp_path / "both")
    (tmp_path / "both" / "weights.safetensors").write_bytes(weights)

    def add(manifest):
        manifest["arrays"]["a/b"] = manifest["arrays"]["a"]
        manifest["bytes"] = len(weights)

    resealed(tmp_path / "both", add)
    with pytest.raises(ValueError, match="a/b: a is an array already"):
        checkpoint.load(tmp_path / "both")


def test_another_network_gets_a_list_of_differences():
    found = {"conv_0": {"kernel": np.ones((3, 3, 1, 2), np.float32), "bias": np.ones(2, np.float32)}}
    like = {"conv_0": {"kernel": jax.ShapeDtypeStruct((5, 5, 1, 2), jnp.float32)}, "dense_1": {"bias": jnp.ones(2)}}
    with pytest.raises(ValueError, match="does not fit") as caught:
        checkpoint.restore(found, like)
    for fault in (
        "params/conv_0/bias is unexpected",
        "params/conv_0/kernel is float32[3, 3, 1, 2], but float32[5, 5, 1, 2] is wanted",
        "params/dense_1/bias is missing",
    ):
        assert fault in str(caught.value)
