"""Where the output of `python -m fnnet check` goes: a line of progress on a terminal, files, and the exit status."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fnnet.checking.catalogue import with_name
from fnnet.checking.errors import RaisedError
from fnnet.checking.kinds import Verdict
from fnnet.checking.report import Report
from fnnet.checking.runner import Run, raised_where, request
from fnnet.core.one_line import in_one_line

STATUS = {
    Verdict.RIGHT: 0,
    Verdict.CONVENTION: 0,
    Verdict.WRONG: 1,
    Verdict.REFERENCE: 1,
    Verdict.INCONCLUSIVE: 2,
    Verdict.MISCOMPILED: 3,
}


def show_progress(text: str) -> None:
    """Replace the line of progress, if standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def begun(f: Any, *args: Any, **options: Any) -> Run:
    """The beginning of a run; ValueError of one line if the arguments are wrong, or f raises at them."""
    try:
        wanted = request(f, *args, **options)
    except TypeError as problem:
        raise ValueError(str(problem)) from problem
    try:
        return wanted.begin()
    except RaisedError as problem:
        raise ValueError(f"check: {raised_where(wanted.subject)}: {problem}") from problem


def checked(run: Run, what: str, show: Callable[[str], None] = show_progress) -> Report:
    """Run the checks, and show which one runs; ValueError of one line if a check cannot be carried out."""
    try:
        for number, letter in enumerate(run.chosen, 1):
            show(f"{what}: {with_name(letter)} ({number} of {len(run.chosen)})")
            run.line(letter)
        return run.report()
    except Exception as problem:
        raise ValueError(f"check: {what} cannot be checked: {in_one_line(problem)}") from problem
    finally:
        show("")


def write_json(file: Path | None, content: Any) -> None:
    """Write the content, if there is a file for it."""
    if file is not None:
        file.write_text(json.dumps(content, indent=2) + "\n")


def require_writable(file: Path | None) -> None:
    """OSError now, and not after minutes, if the file cannot be written."""
    if file is not None:
        existed = file.exists()
        with file.open("ab"):
            pass
        if not existed:
            file.unlink()


def require_drawable(file: Path | None) -> None:
    """An error now if no picture can be written into the file."""
    if file is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError('check: --plot needs matplotlib: pip install "fnnet[train]"')
    from matplotlib.figure import Figure

    known = Figure().canvas.get_supported_filetypes()
    if file.suffix.removeprefix(".") not in known:
        raise ValueError(f"check: --plot {file}: its name must end in one of .{', .'.join(sorted(known))}")
    require_writable(file)
