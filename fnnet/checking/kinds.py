"""The words that a report uses for what it found. Code compares these, never the sentences that are printed."""

import enum


class Word(enum.StrEnum):
    """A word of a fixed list; it is also a string, and prints as one."""

    def __repr__(self) -> str:
        """The word in quotes."""
        return str.__repr__(self)


class Verdict(Word):
    """What is said of a rule, as `Report.verdict` explains."""

    RIGHT = "right"
    WRONG = "wrong"
    CONVENTION = "convention differs"
    INCONCLUSIVE = "inconclusive"
    REFERENCE = "reference is wrong"
    MISCOMPILED = "miscompiled"


class Status(Word):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    MISCOMPILED = "miscompiled"
    WAIVED = "waived"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"


class Blame(Word):
    """Whose error a failure is."""

    RULE = "rule"
    REFERENCE = "reference"
    COMPILER = "compiler"
    UNKNOWN = "unknown"


class Origin(Word):
    """Where a reference comes from."""

    GIVEN = "the given reference"
    ITSELF = "the function without its custom backward"


class Remark(Word):
    """What a note is about."""

    GENERAL = "general"
    JAX = "an error of JAX's own"
    UNDECIDED = "nothing can be decided"


class Ties(Word):
    """Which values pass at a kink or a tie: every value within the subdifferential, or only the reference's."""

    ANY = "any"
    REFERENCE = "reference"


class Side(Word):
    """Which value a rule takes at a kink."""

    LEFT = "the slope from the left"
    RIGHT = "the slope from the right"
    MEAN = "their mean"
    BETWEEN = "a value between"


class Looks(Word):
    """What a wrong cotangent looks like; `diagnosis.hypotheses` has a test for each."""

    NOT_FINITE = "not finite"
    ZERO = "zero"
    ROUNDED = "rounded"
    SCALED = "scaled"
    REARRANGED = "rearranged"
    EXCHANGED = "exchanged"
    ADDED = "something is added"
    VARIED = "of other inputs"
    MOVED = "moved"
    ALONG_AN_AXIS = "wrong along an axis"
    IMPRECISE = "imprecise"
    SOMEWHERE = "wrong somewhere"
    UNLIKE = "unlike the reference"
