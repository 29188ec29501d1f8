"""What a wrong cotangent looks like: the first hypothesis that explains every entry of it.

Each hypothesis is a few lines of NumPy on the rule's cotangent and the reference's.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fnnet.checking.diagnosis.rearrangements import moved_insides, rearrangements
from fnnet.checking.kinds import Looks

RELATIVE = 1e-6
FEW = 4  # entries: fewer could be equal by chance


class Diagnosis(NamedTuple):
    """What a wrong cotangent looks like: the kind, and a sentence without a subject."""

    kind: Looks
    text: str


@dataclass(frozen=True)
class Evidence:
    """A wrong cotangent, and what it may have been confused with.

    Args:
        ours: The rule's cotangent.
        theirs: The reference's, of the same shape.
        allowed: How far two values may be apart.
        sizes: Numbers that a factor may be, with their names: {"the batch size": 3}.
        others: Other arrays by name: the reference's other cotangents, "the cotangent of kernel".
        inputs: The arguments by name.
        variants: What the reference gives for another cotangent or other arguments, by a phrase; called if needed.
    """

    ours: np.ndarray
    theirs: np.ndarray
    allowed: float
    sizes: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    variants: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)

    def explains(self, guess: Any) -> bool:
        """Whether `guess` is the rule's cotangent."""
        guess = np.asarray(guess)
        if guess.shape != self.ours.shape:
            return False
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(self.ours - guess) <= self.allowed + RELATIVE * np.abs(guess)
        return bool(near.all())


def diagnose(evidence: Evidence) -> Diagnosis:
    """The first hypothesis that holds."""
    hypotheses = {
        Looks.NOT_FINITE: _not_finite,
        Looks.ZERO: _zero,
        Looks.ROUNDED: _rounded,
        Looks.SCALED: _factor,
        Looks.REARRANGED: _rearranged,
        Looks.EXCHANGED: _exchanged,
        Looks.ADDED: _added,
        Looks.VARIED: _varied,
        Looks.MOVED: _moved,
        Looks.ALONG_AN_AXIS: _along_an_axis,
        Looks.IMPRECISE: _imprecise,
        Looks.SOMEWHERE: _somewhere,
        Looks.UNLIKE: _unlike,
    }
    found = ((kind, hypothesis(evidence)) for kind, hypothesis in hypotheses.items())
    return next(Diagnosis(kind, text) for kind, text in found if text)


def _not_finite(e: Evidence) -> str:
    bad = ~np.isfinite(e.ours) & np.isfinite(e.theirs)
    if not bad.any():
        return ""
    kinds = "NaN" if np.isnan(e.ours[bad]).all() else "infinite" if np.isinf(e.ours[bad]).all() else "NaN or infinite"
    return f"is {kinds} at {bad.sum()} of {bad.size} entries, where the reference is finite"


def _zero(e: Evidence) -> str:
    return "is zero" if not e.ours.any() else ""


def _rounded(e: Evidence) -> str:
    """So near the reference that any change of a few entries would seem to explain it."""
    return _imprecise(e) if e.explains(e.theirs) else ""


def _factor(e: Evidence) -> str:
    square = np.vdot(e.theirs, e.theirs).real
    if square == 0:
        return ""
    ratio = np.vdot(e.theirs, e.ours) / square
    ratio = ratio.real if abs(ratio.imag) <= RELATIVE * abs(ratio) else ratio
    if abs(ratio - 1) < 1e-5 or not e.explains(ratio * e.theirs):
        return ""
    if e.ours.size == 1 and not _round(ratio, e.sizes):
        return f"is {ratio:.4g} times the reference, of one entry"
    return _named(ratio, e.sizes)


def _round(ratio: Any, sizes: Mapping[str, int]) -> bool:
    known = {1.0, 2.0, 3.0, 4.0, *map(float, sizes.values())}
    return any(abs(abs(ratio) * k - 1) < 1e-5 or abs(abs(ratio) - k) < 1e-5 * k for k in known)


def _named(ratio: Any, sizes: Mapping[str, int]) -> str:
    sign = "minus " if np.real(ratio) < 0 else ""
    size = abs(ratio)
    if np.isclose(ratio, -1, rtol=1e-5):
        return "has the opposite sign of the reference"
    names = {n: k for n, k in sizes.items() if k > 1}
    times = [name for name, k in names.items() if np.isclose(size, k, rtol=1e-5)]
    divided = [name for name, k in names.items() if np.isclose(size * k, 1, rtol=1e-5)]
    square = [f"the square of {name}" for name, k in names.items() if np.isclose(size, k * k, rtol=1e-5)]
    if times or square:
        return f"is {sign}the reference times {size:.5g} ({_either(times or square)})"
    if divided:
        return f"is {sign}the reference divided by {1 / size:.5g} ({_either(divided)})"
    if size < 1 and np.isclose(1 / size, round(1 / size), rtol=1e-5):
        return f"is {sign}the reference divided by {round(1 / size)}"
    return f"is {sign}the reference times {size:.5g}"


def _either(names: list[str]) -> str:
    return ", or ".join(names[:3])


def _common_factor(e: Evidence, wrong: np.ndarray) -> str:
    """The factor that all wrong entries have, in words. A single entry always has one, so only a plain one counts."""
    ours, theirs = e.ours[wrong], e.theirs[wrong]
    square = np.vdot(theirs, theirs).real
    if not square or not ours.any() or not np.isfinite(ours).all():
        return ""
    ratio = np.vdot(theirs, ours) / square
    if ours.size == 1 and not _round(ratio, {}):
        return ""
    return _named(ratio, {}) if dataclasses.replace(e, ours=ours, theirs=theirs).explains(ratio * theirs) else ""


def _rearranged(e: Evidence) -> str:
    for description, rearrange in rearrangements(e.theirs):
        guess = rearrange(e.theirs)
        for sign, word in ((1, ""), (-1, ", and the opposite sign")):
            if e.explains(sign * guess):
                return f"equals the reference {description}{word}"
    return ""


def _exchanged(e: Evidence) -> str:
    for name, other in e.others.items():
        if e.explains(other):
            return f"is {name}: two cotangents are exchanged"
        if other.size == e.ours.size and e.explains(other.reshape(e.ours.shape)):
            return f"is {name}, reshaped"
    return ""


def _added(e: Evidence) -> str:
    extra = e.ours - e.theirs
    if extra.size > 1 and np.ptp(extra.real) <= e.allowed and np.ptp(extra.imag) <= e.allowed:
        return f"is the reference plus {extra.flat[0]:.4g}"
    for name, array in e.inputs.items():
        square = np.vdot(array, array).real if array.shape == extra.shape else 0
        if extra.size > 1 and square > 0:
            factor = np.vdot(array, extra) / square
            if e.explains(e.theirs + factor * array):
                return f"is the reference plus {factor.real:.4g} times {name} itself"
    for name, array in e.inputs.items():
        if array.shape == e.ours.shape and array.size > 1:
            for relation, guess in (("times", e.theirs * array), ("divided by", _divided(e.theirs, array))):
                factor = np.vdot(guess, e.ours) / (np.vdot(guess, guess) or 1)
                if abs(factor) > 1e-3 and e.explains(factor * guess):
                    times = "" if np.isclose(factor, 1) else f"{factor.real:.4g} times "
                    return f"is {times}the reference {relation} {name}"
    return ""


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b)), where=b != 0)


def _varied(e: Evidence) -> str:
    for phrase, variant in e.variants.items():
        if e.explains(variant()):
            return phrase
    return ""


def _moved(e: Evidence) -> str:
    for description, to, origin in moved_insides(e.theirs):
        inside = dataclasses.replace(e, ours=e.ours[to], theirs=e.theirs[to])
        if inside.ours.size >= FEW and not _near(inside).all() and inside.explains(e.theirs[origin]):
            return f"equals the reference {description}"
    return ""


def _along_an_axis(e: Evidence) -> str:
    """Right in some slices, or scaled slice by slice."""
    wrong = ~_near(e)
    for axis in range(e.ours.ndim):
        rest = tuple(i for i in range(e.ours.ndim) if i != axis)
        n, bad = e.ours.shape[axis], wrong.any(rest)
        if n > 1 and bad.sum() == 1:
            return _slice(e, axis, [int(np.flatnonzero(bad)[0])])
    for axis in range(e.ours.ndim):
        rest = tuple(i for i in range(e.ours.ndim) if i != axis)
        n, bad = e.ours.shape[axis], wrong.any(rest)
        if rest and 0 < bad.sum() <= n / 2 and wrong.sum() > bad.sum() * wrong.size / n / 2:
            return _slice(e, axis, [int(i) for i in np.flatnonzero(bad)])
        square = np.sum(np.abs(e.theirs) ** 2, rest, keepdims=True)
        ratios = np.sum(np.conj(e.theirs) * e.ours, rest, keepdims=True) / np.where(square == 0, 1, square)
        if rest and wrong.size > n > 1 and e.explains(ratios * e.theirs):
            told = ", ".join(f"{r:.4g}" for r in ratios.real.ravel()[:6])
            return f"is scaled along axis {axis}: the reference times {told}{', ...' if n > 6 else ''}"
    return ""


def _slice(e: Evidence, axis: int, bad: list[int]) -> str:
    taken = np.take(e.ours, bad, axis)
    inside = np.zeros(e.ours.shape, bool)
    np.moveaxis(inside, axis, 0)[bad] = True
    factor = _common_factor(e, inside & ~_near(e))
    what = "zero there" if not taken.any() else f"there it {factor}" if factor else "wrong there"
    at = (
        f"index {bad[0]}"
        if len(bad) == 1
        else f"indices {', '.join(map(str, bad[:6]))}{', ...' if len(bad) > 6 else ''}"
    )
    last = " (the last)" if bad == [e.ours.shape[axis] - 1] else " (the first)" if bad == [0] else ""
    return f"is right except at {at}{last} of axis {axis}: {what}"


def _imprecise(e: Evidence) -> str:
    finite = np.isfinite(e.theirs)
    norm = np.linalg.norm(e.theirs[finite])
    relative = np.linalg.norm((e.ours - e.theirs)[finite]) / norm if norm else np.inf
    return f"is the reference up to a relative error of {relative:.1e}: digits are lost" if relative < 1e-2 else ""


def _somewhere(e: Evidence) -> str:
    """Right at most entries; or zero, or the opposite, wherever it is wrong."""
    wrong = ~_near(e)
    if wrong.sum() > wrong.size * 0.9:
        return ""
    ours, theirs = e.ours[wrong], e.theirs[wrong]
    if not ours.any():
        return f"is zero at {wrong.sum()} of {wrong.size} entries, and right at the others"
    factor = _common_factor(e, wrong)
    if factor:
        return f"{factor} at {wrong.sum()} of {wrong.size} entries, and right at the others"
    if np.abs(theirs).max() <= e.allowed:
        return f"is not zero at {wrong.sum()} of {wrong.size} entries where it should be, and right at the others"
    for name, array in e.inputs.items():
        if array.shape == wrong.shape and wrong.any() and not wrong.all() and not np.iscomplexobj(array):
            for side, mask in (("negative", array < 0), ("positive", array > 0)):
                if (wrong == mask).all():
                    return f"is wrong where {name} is {side}, and right elsewhere"
            if array[wrong].min() > array[~wrong].max():
                return f"is wrong where {name} is {array[wrong].min():.4g} or more, and right below"
            if array[wrong].max() < array[~wrong].min():
                return f"is wrong where {name} is {array[wrong].max():.4g} or less, and right above"
    if wrong.mean() > 0.5:
        return ""
    if wrong.ndim == 1:
        return _slice(e, 0, [int(i) for i in np.flatnonzero(wrong)])
    return f"is wrong at {wrong.sum()} of {wrong.size} entries, and right at the others"


def _near(e: Evidence) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (np.abs(e.ours - e.theirs) <= e.allowed) | ~np.isfinite(e.theirs)


def _unlike(e: Evidence) -> str:
    a, b = np.ravel(e.ours), np.ravel(e.theirs)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    if not norms or not np.isfinite(norms):
        return "differs from the reference"
    cosine = np.vdot(b, a).real / norms
    ratio = np.linalg.norm(a) / np.linalg.norm(b)
    return f"is like no simple change of the reference (cosine {cosine:.3f}, norm {ratio:.3g} times the reference's)"
