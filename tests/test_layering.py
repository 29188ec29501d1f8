"""Data flows one way: each floor imports lower floors alone, and two modules touch JAX's extension interface."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fnnet

PACKAGE = Path(fnnet.__file__).parent

# From the ground up; a name stands for a module or a folder. Modules of one floor may import each other.
FLOORS = (
    ("geometry", "suggestions", "allocator", "supported", "accelerators", "compiler", "partials"),
    ("arguments", "bridge", "explicit_axes"),
    ("registration", "multilinear"),
    ("formulations",),
    ("reduction",),
    ("rules",),
    ("protocol", "precision", "layers", "network", "summary", "traffic", "scale"),
    ("presets", "interop", "forecast", "serving"),
    ("placement", "processes"),
    (
        "steps",
        "batches",
        "shares",
        "ghost",
        "per_example",
        "training",
        "checkpoint",
        "lock",
        "resumption",
        "orbax_checkpoints",
        "journal",
    ),
    ("signals", "pictures", "photographs", "runs", "exports"),
    ("equations", "checking"),
    ("tracing",),
    ("command", "__main__"),
)
# Reads files: knows nothing of networks, and the floors below training nothing of it.
ASIDE = "data"
SLOW = ("optax", "sklearn", "matplotlib", "tqdm", "safetensors", "PIL", "pytest", "torch", "flax", "orbax")


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
    top = module.split(".")[0]
    return next((number for number, floor in enumerate(FLOORS) if top in floor), None)


def floors_imported(path: Path) -> dict[str, int | None]:
    below = {name.removeprefix("fnnet.") for name in imports(path) if name.startswith("fnnet.")}
    known = {name.split(".")[0] for name in modules()}
    return {name: floor_of(name) for name in below if name.split(".")[0] in known}


MODULES = modules()


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] != ASIDE])
def test_no_arrow_back(module):
    own = floor_of(module)
    assert own is not None, f"fnnet.{module} stands on no floor: give it one in {Path(__file__).name}"
    for name, floor in floors_imported(MODULES[module]).items():
        if name.split(".")[0] == ASIDE:
            assert own >= floor_of("training"), f"fnnet.{module} imports fnnet.{name}"
        else:
            assert floor is not None, f"fnnet.{name} stands on no floor"
            assert floor <= own, f"fnnet.{module} imports fnnet.{name}, from a floor above"


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == ASIDE])
def test_data_knows_nothing_of_networks(module):
    assert {name.split(".")[0] for name in floors_imported(MODULES[module])} <= {ASIDE, "arguments"}


@pytest.mark.parametrize("module", MODULES)
def test_only_public_jax(module):
    found = imports(MODULES[module])
    assert not {name for name in found if name.startswith("jax._src") or name.startswith("jaxlib")}
    if module not in ("bridge", "equations"):  # primitives of one's own; the equations of a traced function
        assert not {name for name in found if name.startswith(("jax.extend", "jax.interpreters"))}
    assert "jax._src" not in MODULES[module].read_text()


def test_the_package_imports_every_public_name_from_its_module():
    assert all(name.startswith("fnnet") for name in imports(PACKAGE / "__init__.py"))


def test_no_module_has_the_name_of_a_public_function():
    functions = {name for name, value in vars(fnnet).items() if callable(value)} | {"check", "trace"}
    assert not functions & {name.split(".")[-1] for name in MODULES}


@pytest.mark.parametrize("module", ["__init__", *MODULES])
def test_slow_libraries_are_imported_where_they_are_used(module):
    path = PACKAGE / "__init__.py" if module == "__init__" else MODULES[module]
    assert not {name.split(".")[0] for name in imports(path, at_the_top=True)} & set(SLOW)


def test_import_is_quick():
    late = {*SLOW, "fnnet.checking.runner"}  # the checker's thirty modules
    code = f"import sys, fnnet; print(*sorted({late!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("planted", "own"), [("from fnnet import rules\n", "geometry"), ("def f():\n    import fnnet.training\n", "layers")]
)
def test_an_arrow_back_is_seen(tmp_path, planted, own):
    path = tmp_path / "planted.py"
    path.write_text(planted)
    assert any(floor > floor_of(own) for floor in floors_imported(path).values())
