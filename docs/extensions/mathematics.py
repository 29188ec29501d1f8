"""TeX that cannot be read ends the build, not only the browser's patience: MathJax would show it in red, unseen."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)


def look(app, doctree):
    r"""Read every equation with docutils' own reader, which is stricter than MathJax but knows no \tag."""
    for node in doctree.findall(lambda node: isinstance(node, nodes.math | nodes.math_block)):
        tex = re.sub(r"\\tag\{.*?\}", "", node.astext()).strip()
        try:
            tex2mathml(tex, as_block=isinstance(node, nodes.math_block))
        except MathError as error:
            logger.warning("%s %s", error, tex, location=node)


def setup(app):
    """Look at each page when it has been read."""
    app.connect("doctree-read", look)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
