"""What the checker raises inside itself: an exception of the caller's functions, and why a check cannot run."""

from fnnet.core.one_line import in_one_line


class RaisedError(Exception):
    """A function of the caller's raised `problem`; the message is that exception in one line."""

    def __init__(self, problem: Exception):
        """Wrap what was raised."""
        super().__init__(in_one_line(problem))
        self.problem = problem


class NothingToCheckError(ValueError):
    """The function has no gradient."""


class NotRun(Exception):
    """A check cannot run here; the message is the reason."""
