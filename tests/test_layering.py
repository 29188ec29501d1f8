"""Data flows one way: each floor imports lower floors alone, and two modules touch JAX's extension interface."""

import ast
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fnnet

PACKAGE = Path(fnnet.__file__).parent

# From the ground up. A name stands for a folder or a module; a module with an entry of its own is not its folder's.
FLOORS = (
    ("core.geometry", "core.suggestions", "core.partials"),
    ("core.allocator", "core.compiler", "core.onednn", "core.supported"),
    ("core.arguments", "core.habits", "core.eager", "core.primitives", "core.explicit_axes", "core.jaxprs"),
    ("core",),
    ("formulations",),
    ("rules",),
    ("layers.answers", "layers.arguments", "layers.habits", "layers.protocol"),
    ("layers.containers", "layers.functions", "layers.precision", "layers.walk"),
    ("costs",),
    ("layers",),
    ("interop", "serving"),
    ("training",),
    ("proofs",),
    ("checking",),
    ("tracing",),
    ("cli", "__main__"),
)
MOST_ROOMS = 20  # folders and files side by side in fnnet/
# Reads files: knows nothing of networks, and the floors below training nothing of it.
ASIDE = "data"
SLOW = ("optax", "sklearn", "matplotlib", "tqdm", "safetensors", "PIL", "pytest", "torch", "flax", "orbax", "onnx")


def modules() -> dict[str, Path]:
    """Each module's dotted name below fnnet, and its file; the package itself re-exports and has no floor."""
    files = {path: path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")}
    names = {".".join(name.parts).removesuffix(".__init__"): path for path, name in files.items()}
    return {name: path for name, path in sorted(names.items()) if name != "__init__"}


def imports(path: Path, *, at_the_top: bool = False) -> set[str]:
    """Dotted names of the modules that a file imports; `from a import b` counts as a.b too."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise AssertionError(f"{path}: relative import")
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def floor_of(module: str) -> int | None:
    """The floor of the longest part of a dotted name that has one."""
    names = [module.rsplit(".", dots)[0] for dots in range(module.count(".") + 1)]
    floors = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    return next((floors[name] for name in names if name in floors), None)


def modules_imported(path: Path, *, at_the_top: bool = False) -> set[str]:
    """The modules of fnnet that a file imports; a folder counts only where nothing in it is named."""
    below = {name.removeprefix("fnnet.") for name in imports(path, at_the_top=at_the_top) if name.startswith("fnnet.")}
    found = below & set(modules())
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


MODULES = modules()


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] != ASIDE])
def test_no_arrow_back(module):
    own = floor_of(module)
    assert own is not None, f"fnnet.{module} stands on no floor: give it one in {Path(__file__).name}"
    for name in modules_imported(MODULES[module]):
        if name.split(".")[0] == ASIDE:
            assert own >= floor_of("training"), f"fnnet.{module} imports fnnet.{name}"
        else:
            assert floor_of(name) is not None, f"fnnet.{name} stands on no floor"
            assert floor_of(name) <= own, f"fnnet.{module} imports fnnet.{name}, from a floor above"


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == ASIDE])
def test_data_knows_nothing_of_networks(module):
    assert {name.split(".")[0] for name in modules_imported(MODULES[module])} <= {ASIDE}


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter({name: modules_imported(path, at_the_top=True) for name, path in MODULES.items()}).prepare()


def test_few_rooms():
    rooms = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert len(rooms) < MOST_ROOMS
    assert all(
        re.match(r'""".+[.]"""|"""[^"]+[.]\n', (room / "__init__.py").read_text()) for room in rooms if room.is_dir()
    )


def test_the_page_names_every_room():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text().partition("\n## ")[0]
    rooms = {name for name, path in MODULES.items() if path.stem == "__init__" and "." not in name}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == rooms


def test_nobody_knows_a_layer_by_its_type():
    """But for the networks that the command line builds, and the nodes of ONNX; the rest asks `Layer`."""
    kinds = {f"layers.{name}" for name in ("dense", "convolution", "pooling", "flatten", "dropout")}
    users = {name for name, path in MODULES.items() if modules_imported(path) & kinds}
    assert {name for name in users if name.split(".")[0] != "layers"} == {"cli.presets", "interop.onnx_layers"}


def test_dir_shows_the_public_names_alone():
    names = re.findall(r" import (\w+) as \1$", (PACKAGE / "__init__.py").read_text(), re.MULTILINE)
    assert set(dir(fnnet)) == {*names, "__doc__", "__version__"}


def test_no_child_of_the_package_has_the_name_of_a_public_function():
    functions = {name for name in dir(fnnet) if callable(getattr(fnnet, name))}
    assert not functions & {name for name in MODULES if "." not in name}


@pytest.mark.parametrize("module", ["__init__", *MODULES])
def test_slow_libraries_are_imported_where_they_are_used(module):
    path = PACKAGE / "__init__.py" if module == "__init__" else MODULES[module]
    assert not {name.split(".")[0] for name in imports(path, at_the_top=True)} & set(SLOW)


def test_import_is_quick():
    late = {*SLOW, "fnnet.checking.runner", "fnnet.proofs.dense"}  # the checker's thirty modules
    code = f"import sys, fnnet; print(*sorted({late!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("planted", "own"),
    [("from fnnet import rules\n", "core.geometry"), ("def f():\n    import fnnet.training.steps\n", "layers.dense")],
)
def test_an_arrow_back_is_seen(tmp_path, planted, own):
    path = tmp_path / "planted.py"
    path.write_text(planted)
    assert any(floor_of(name) > floor_of(own) for name in modules_imported(path))
