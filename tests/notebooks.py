"""The notebooks of docs/notebooks as Python: their cells by name, and what each cell shows."""

import ast
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def content(notebook: Path) -> dict:
    """The notebook's JSON."""
    return json.loads(notebook.read_text())


def code(notebook: Path) -> dict[str, str]:
    """The code of each cell, by the cell's id; lines for Jupyter alone, such as %pip, do nothing."""
    cells = {cell["id"]: "".join(cell["source"]) for cell in content(notebook)["cells"] if cell["cell_type"] == "code"}
    return {name: re.sub(r"^(\s*)%.*$", r"\1pass", source, flags=re.MULTILINE) for name, source in cells.items()}


def run(cell: str, names: dict[str, Any], where: str) -> Any:
    """Run a cell; its value is that of the expression in its last line, as Jupyter shows it."""
    tree = ast.parse(cell)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, where, "exec"), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), where, "exec"), names)
    return eval(compile(ast.Expression(last.value), where, "eval"), names)
