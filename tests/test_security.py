"""What the package never does: run code out of files, start a shell, unpickle; and hostile images."""

import ast
import struct
import zlib
from pathlib import Path

import pytest

import fnnet
from fnnet.data.image_files import read_image

PACKAGE = Path(fnnet.__file__).parent
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "subprocess",
    "tarfile",
    "zipfile",
}
FORBIDDEN_CALLS = {"eval", "exec", "system", "popen", "execv", "spawnv"}


def faults(source):
    """The forbidden names in a module's source."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & FORBIDDEN_MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} & FORBIDDEN_MODULES
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            found |= {name} & FORBIDDEN_CALLS
            found |= {keyword.arg for keyword in node.keywords if not is_false(keyword.value)} & {
                "shell",
                "allow_pickle",
            }
    return found


def is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


def test_no_pickle_no_eval_no_shell():
    found = {path.name: bad for path in PACKAGE.rglob("*.py") if (bad := faults(path.read_text()))}
    # All start this Python again: for train --processes, for a program that may crash, for checks side by side.
    assert found == {name: {"subprocess"} for name in ("processes.py", "faults.py", "workers.py")}


def test_they_would_be_seen():
    source = "import pickle\nfrom subprocess import run\neval('1')\nos.system('x')\nnp.load(f, allow_pickle=True)"
    assert faults(source) == {"pickle", "subprocess", "eval", "system", "allow_pickle"}


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">II", width, height) + b"\x08\0\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


HOSTILE = {
    "a bomb of pixels": png(30_000, 30_000, chunk(b"IDAT", zlib.compress(bytes(10**6)))),
    "sizes of 2**31": png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b"")),
    "no pixels": png(0, 0, chunk(b"IDAT", zlib.compress(b""))),
    "a bomb of text": png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000))), chunk(b"IDAT", b"")),
    "half an image": png(8, 8, chunk(b"IDAT", zlib.compress(bytes(30)))),
    "another format": b"GIF89a" + bytes(100),
    "a program": b"\x80\x04cposix\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_image_is_one_error(tmp_path, case):
    file = tmp_path / "image.png"
    file.write_bytes(HOSTILE[case])
    with pytest.raises(ValueError, match="cannot be read as a PNG or JPEG image") as caught:
        read_image(file, (8, 8, 1))
    assert str(file) in str(caught.value)
