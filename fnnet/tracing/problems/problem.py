"""`Problem`: what is wrong in a trace, and where."""

from dataclasses import dataclass

from fnnet.checking.kinds import Word


class Kind(Word):
    """What can be wrong."""

    NOT_FINITE = "not finite"
    WRONG_RULE = "wrong rule"
    DEAD_RELU = "dead ReLU"
    SATURATION = "saturation"
    ZERO_WEIGHTS = "zero weights"
    UNDERFLOW = "underflow"
    ZERO_GRADIENT = "zero gradient"
    EXPLODING = "exploding"
    VANISHING = "vanishing"
    UPDATE_TOO_LARGE = "update too large"
    UPDATE_LOST = "update lost"
    LABELS = "labels"
    TOKENS = "tokens"
    LEAK = "leak"
    PADDING = "padding"
    BATCH_OF_ONE = "batch of one"
    EXPLODING_RECURRENCE = "exploding recurrence"
    SATURATED_ATTENTION = "saturated attention"


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where.

    Args:
        layer: The layer's name, or "loss".
        kind: What sort of problem.
        sentence: It, for a reader.
    """

    layer: str
    kind: Kind
    sentence: str

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence


Found = tuple[Kind, str] | None  # what a search for one kind of problem returns: the kind and the sentence
