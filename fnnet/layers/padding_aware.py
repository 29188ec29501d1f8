"""`PaddingAware`: what layers share that leave out the padding of a sequence."""

from typing import Any, ClassVar

from fnnet.layers.protocol import Layer, with_fields


class PaddingAware(Layer):
    """A layer that reads how many rows of a sequence count: `Padded` says it through `with_length`."""

    length: ClassVar[Any] = None  # None: all rows count
    rows: ClassVar[int | None] = None  # of the sequence whose first `length` rows count

    def with_length(self, length: Any, rows: int) -> Any:
        """The same for sequences of `rows` rows, of which the first `length` count."""
        return with_fields(self, length=length, rows=rows)

    def check_rows(self, x: Any) -> None:
        """Raises ValueError where x has other rows than those that were counted."""
        if self.rows is not None and len(x) != self.rows:
            raise ValueError(
                f"{type(self).__name__}: x of shape {x.shape} must have the {self.rows} rows of the sequence in "
                "Padded; no layer before it may change their number"
            )
