"""How Sphinx makes the pages. The line that builds them stands in the README; warnings are errors there.

Nothing is fetched, neither when the pages are built nor when they are read: MathJax, which typesets the equations,
comes with a package and is copied beside them. Of its forms the one that draws outlines needs one file, and no fonts.
The notebooks run while the site is built.
"""

import sys
from importlib.metadata import distribution
from pathlib import Path

import fnnet

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

MATHJAX = Path(
    str(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js"))
)

project = "fnnet"
author = "the authors of fnnet"
copyright = f"2026, {author}"
version = release = fnnet.__version__

extensions = [
    "hosted_notebooks",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "live_traces",
    "mathematics",
    "plain_docstrings",
    "public_names",
    "rule_lists",
    "signatures",
]
exclude_patterns = ["_build", "published_rules/README.md"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!fnnet\.).*")]  # JAX, optax, jaxtyping have pages of their own

nb_execution_mode = "force"  # no output is committed, so that none is stale
nb_execution_raise_on_error = True
nb_execution_timeout = 300
notebook_repository = ""  # owner/name on GitHub, once there is one: notebooks then link to a hosted service

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures.py writes them as the source does
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
python_display_short_literal_types = True
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_use_param = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"fnnet {version}"
html_static_path = ["static", str(MATHJAX)]
html_css_files = ["wide.css"]
mathjax_path = MATHJAX.name
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
pygments_style, pygments_dark_style = "friendly", "monokai"
