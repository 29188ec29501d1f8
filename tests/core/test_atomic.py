"""Files and directories that are written whole or not at all; the checkpoints' tests fill the disk."""

import os

import pytest

from fnnet.core import atomic


def test_a_file_is_replaced_only_if_that_is_asked_for(tmp_path):
    file = tmp_path / "a"
    atomic.write_file(file, b"one", replace=False)
    atomic.write_file(file, b"two")
    with pytest.raises(FileExistsError):
        atomic.write_file(file, b"three", replace=False)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"two")]


def test_a_directory_is_not_replaced(tmp_path):
    atomic.write_directory(tmp_path / "a", {"x": b"1", "y": b"2"})
    with pytest.raises(OSError, match=r"not empty|exists"):
        atomic.write_directory(tmp_path / "a", {"x": b"3"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {"x": b"1", "y": b"2"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("replaced", [False, True])
def test_an_interruption_leaves_the_old_contents(tmp_path, monkeypatch, replaced):
    if replaced:
        atomic.write_file(tmp_path / "a", b"old")

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_file(tmp_path / "a", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"] * replaced
