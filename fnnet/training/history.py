"""`History`: the list of records that `fit` returns, shown as a table in notebooks."""

from typing import Any

from fnnet.core.notebook import html_table

ENDS = 10  # epochs of a long history that are shown at its beginning and at its end


class History(list[dict[str, Any]]):
    """A list of dictionaries, one an epoch; equal to that list."""

    def _repr_html_(self) -> str:
        """A table with a row for each epoch; of a long history the first and the last epochs."""
        names = list(dict.fromkeys(name for record in self for name in record))
        shown = self if len(self) <= 2 * ENDS else [*self[:ENDS], {"epoch": "..."}, *self[-ENDS:]]
        return html_table(names, [[_short(record.get(name, "")) for name in names] for record in shown], left=())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
