"""Each notebook's page begins with links: to the file, and to a hosted service once the repository is public.

`notebook_repository` in conf.py is "owner/name" on GitHub, or "" as long as there is none.
"""

from pathlib import PurePosixPath
from typing import Any

HOSTED = "https://colab.research.google.com/github/{repository}/blob/main/docs/{page}.ipynb"


def links(page: str, repository: str, download: str) -> str:
    """The paragraph above a notebook."""
    found = [f'<a href="{download}" download>Download this notebook</a>']
    if repository:
        address = HOSTED.format(repository=repository, page=page)
        found.append(f'<a href="{address}">Open it in Colab</a>')
    return f"<p>{' · '.join(found)}</p>"


def setup(app: Any) -> dict[str, bool]:
    """Copy the notebooks into the site, and put the links above them."""
    app.add_config_value("notebook_repository", "", "html")

    def add_links(app: Any, page: str, template: str, context: dict, tree: Any) -> None:
        if tree is not None and app.env.doc2path(page).suffix == ".ipynb":
            name = PurePosixPath(page).name
            context["body"] = links(page, app.config.notebook_repository, f"{name}.ipynb") + context["body"]

    def copy(app: Any, problem: Exception | None) -> None:
        if problem is None and app.builder.format == "html":
            for page in app.env.found_docs:
                source = app.env.doc2path(page)
                if source.suffix == ".ipynb":
                    (app.outdir / f"{page}.ipynb").write_bytes(source.read_bytes())

    app.connect("html-page-context", add_links)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
