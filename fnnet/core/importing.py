"""Objects of a user's own code that a command line names: `package.module:name` or `path/file.py:name`."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from fnnet.core.one_line import in_one_line
from fnnet.core.suggestions import did_you_mean


def found(where: str, target: str) -> Any:
    """The object that "module:name" or "file.py:name" names; the current directory is importable.

    Raises:
        ValueError: There is no such module, file or name, or importing it raises. The message begins with `where`.
    """
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{where} must be a module, a colon and a name, such as package.module:function")
    if "/" in module and not module.endswith(".py"):
        raise ValueError(f"{where} must name a module or a .py file; did you mean {module}.py:{attribute}?")
    value: Any = _of_file(where, Path(module)) if module.endswith(".py") else imported(where, module)
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [name for name in dir(value) if not name.startswith("__")]
            raise ValueError(f"{where}: {module} has no {part!r}{did_you_mean(part, names)}")
        value = getattr(value, part)
    return value


def is_module(name: str) -> bool:
    """Whether a module of that name is here or installed; also where importing a package around it raises."""
    _make_importable(Path.cwd())
    try:
        return re.fullmatch(r"\w+(\.\w+)*", name) is not None and importlib.util.find_spec(name) is not None
    except (Exception, SystemExit) as problem:
        return not _is_missing(problem, name)


def imported(where: str, name: str) -> ModuleType:
    """The module; a ValueError that begins with `where` says why it cannot be imported."""
    _make_importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:
        if _is_missing(problem, name):
            raise ValueError(f"{where}: there is no module {problem.name}, neither here nor installed") from None
        raise ValueError(f"{where}: importing {name} raises {in_one_line(problem)}") from None


def _is_missing(problem: BaseException, name: str) -> TypeGuard[ModuleNotFoundError]:
    """Whether the module, or a package around it, is not there."""
    return (
        isinstance(problem, ModuleNotFoundError)
        and problem.name is not None
        and f"{name}.".startswith(f"{problem.name}.")
    )


def _of_file(where: str, file: Path) -> ModuleType:
    """The module of a file, by its name within the packages around it."""
    if not file.is_file():
        raise ValueError(f"{where}: there is no file {file}")
    path = file.resolve()
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").exists():
        folder, name = folder.parent, f"{folder.name}.{name}"
    _make_importable(folder)
    if "." in name:
        return imported(where, name)
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{where}: {file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    if known is None:
        sys.modules[name] = module  # else an installed module has this name, and keeps it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:
        if known is None:
            del sys.modules[name]
        raise ValueError(f"{where}: importing {file} raises {in_one_line(problem)}") from None
    return module


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path and not ("" in sys.path and folder == Path.cwd()):
        sys.path.insert(0, str(folder))
