"""One entry of a container's output, or of its input's cotangent, as a sum over the layers that it is made of.

y_o = sum_p y_o^p                             (1)   p over the container's parts
x_bar_e = sum_l x_bar_e^l + n y_bar_e         (2)   l over its layers whose input is x; x is n times a part
"""

from dataclasses import dataclass
from typing import Any

from fnnet.tracing.explanation import entry_name, entry_of


@dataclass(frozen=True)
class ContainerExplanation:
    """One entry of y or x_bar as the sum (1) or (2).

    Args:
        layer: The container's name.
        of: "y" or "x_bar".
        index: The entry.
        value: The entry, as the pass gives it.
        terms: Whose entry each term is, which array's, and its value.
        total: Their sum, in double precision.
    """

    layer: str
    of: str
    index: tuple[int, ...]
    value: float
    terms: tuple[tuple[str, str, float], ...]
    total: float

    def __str__(self) -> str:
        """The sum, a line a term."""
        what = "output" if self.of == "y" else "cotangent"
        counted = f"one {what}" if len(self.terms) == 1 else f"the sum of {len(self.terms)} {what}s"
        lines = [f"{self.layer}: {entry_name(self.of, self.index)} = {self.value:.7g}, {counted}"]
        lines += [f"  {value:+.7g} = {name}: {entry_name(of, self.index)}" for name, of, value in self.terms]
        return "\n".join([*lines, f"  {self.total:+.7g} in all"])


def container_explained(trace: Any, name: str, of: str, index: tuple[int, ...]) -> ContainerExplanation:
    """The entry `index` of the container's "y", or of the cotangent of its "x"; ValueError where it is not known."""
    step = trace[name]
    inside = [one for one in trace.steps if one.name.startswith(f"{name}/")]
    if of not in ("x", "y") or not trace.graph:
        raise ValueError(f"explain: {name} is made of layers; explain an entry of {', '.join(s.name for s in inside)}")
    whole = step.value if of == "y" else step.cotangent("x").numbers
    index = entry_of("explain", whole.name, whole.shape, index)
    if of == "y":
        terms = [_output(trace, part, index) for part in step.parts]
    else:
        readers = [s for s in inside if s.source == step.source and "/" not in s.name[len(name) + 1 :]]
        terms = [(s.name, "x_bar", float(s.cotangent("x").numbers.wide[index])) for s in readers]
        terms += [(name, "y_bar", float(step.incoming.wide[index]))] * step.parts.count(step.source)
    total = sum(value for *_, value in terms)
    return ContainerExplanation(name, whole.name, index, float(whole.wide[index]), tuple(terms), total)


def _output(trace: Any, part: int, index: tuple[int, ...]) -> tuple[str, str, float]:
    """A part's name, its array's and the entry's value; -1 is the example."""
    if part < 0:
        return "the example", "x", float(trace.x.wide[index])
    return trace.steps[part].name, "y", float(trace.steps[part].value.wide[index])
