"""The pages of traces that the docs show as pictures, live on the site: a picture `trace_NAME.png` opens `NAME.html`.

The docs' own examples write these pages, when the site is built.
"""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

DOCS = ("backpropagation", "trace")  # pages at the root of the docs
FOLDER = "traces"  # of the site


def write(doc: Path, folder: Path) -> None:
    """Run the examples of a document in a folder, without what they print."""
    names = {"__name__": "example"}
    folder.mkdir(exist_ok=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        for block in re.findall(r"^```python\n(.*?)^```$", doc.read_text(), flags=re.MULTILINE | re.DOTALL):
            exec(compile(block, str(doc), "exec"), names)


def linked(body: str) -> str:
    """The HTML of a document, in which each picture of a trace opens the trace's page."""
    return re.sub(
        r'<img [^>]*/trace_(\w+)\.png"[^>]*>',
        rf'<a href="{FOLDER}/\1.html">\g<0><br>Open this page in the browser</a>',
        body,
    )


def setup(app: Any) -> dict[str, bool]:
    """Write the pages into the site, and link the pictures."""

    def link(app: Any, page: str, template: str, context: dict, tree: Any) -> None:
        if page in DOCS and app.builder.format == "html":
            context["body"] = linked(context["body"])

    def write_all(app: Any, problem: Exception | None) -> None:
        if problem is None and app.builder.format == "html":
            for doc in DOCS:
                write(Path(app.env.doc2path(doc)), Path(app.outdir) / FOLDER)

    app.connect("html-page-context", link)
    app.connect("build-finished", write_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
