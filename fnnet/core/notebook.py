"""What notebooks show in place of text: tables in HTML, by the methods `_repr_html_` that Jupyter calls."""

import html
from collections.abc import Sequence

GREEN, RED = "#1a7f37", "#cf222e"  # legible on white and on black
LEFT, RIGHT = "text-align: left", "text-align: right"


def html_table(
    heading: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,), total: bool = False
) -> str:
    """A table. The columns numbered `left` hold words, the others numbers; `total`: the last row is a sum."""

    def line(cells: Sequence[str], tag: str) -> str:
        styles = [LEFT if column in left else RIGHT for column in range(len(cells))]
        pairs = zip(cells, styles, strict=True)
        return (
            "<tr>" + "".join(f'<{tag} style="{style}">{html.escape(cell)}</{tag}>' for cell, style in pairs) + "</tr>"
        )

    body = [line(row, "th" if total and number == len(rows) - 1 else "td") for number, row in enumerate(rows)]
    return f"<table><thead>{line(heading, 'th')}</thead><tbody>{''.join(body)}</tbody></table>"


def html_paragraph(text: str, *, strong: str = "", good: bool | None = None) -> str:
    """A paragraph that begins with the words `strong`, green if they are good and red if they are not."""
    style = "" if good is None else f' style="color: {GREEN if good else RED}"'
    first = f"<strong{style}>{html.escape(strong)}</strong> " if strong else ""
    return f"<p>{first}{html.escape(text)}</p>"


def html_details(title: str, text: str) -> str:
    """Text in lines that is folded below a title."""
    return f"<details><summary>{html.escape(title)}</summary><pre>{html.escape(text)}</pre></details>"


def html_frame(page: str, title: str, height: int) -> str:
    """A whole HTML page, with its scripts, in a frame that reaches nothing outside it; `height` in pixels."""
    style = f"width: 100%; height: {height}px; border: 0"
    shut = 'sandbox="allow-scripts"'
    return f'<iframe srcdoc="{html.escape(page)}" title="{html.escape(title)}" style="{style}" {shut}></iframe>'
