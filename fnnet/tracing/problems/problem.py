"""`Trouble`: what is wrong in a trace, and where."""

from dataclasses import dataclass

Found = tuple[str, str] | None  # the kind of a trouble and its sentence


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and where.

    Args:
        layer: The layer's name, or "loss".
        kind: "not finite", "wrong rule", "dead ReLU", "saturation", "zero weights", "underflow", "zero gradient",
            "exploding", "vanishing", "update too large", "update lost", "labels".
        sentence: It, for a reader.
    """

    layer: str
    kind: str
    sentence: str

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence
