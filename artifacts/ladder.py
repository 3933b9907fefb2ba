"""How near a number of a reproduction is to the reference's: the rungs, and which of them a pair of numbers stands on.

bitwise · within tolerance · equivalent · different · not run. Beside the ladder stands what cannot be compared, with
the reason: times of another machine, and numbers for which no margin was fixed. Knows two values, the verdicts on
them and what is allowed between; nothing of runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from artifacts.equivalence import Equivalence

Rung = Literal["bitwise", "within tolerance", "equivalent", "different", "not run", "incomparable"]
RUNGS: tuple[Rung, ...] = ("bitwise", "within tolerance", "equivalent", "different", "not run", "incomparable")
FAILS: tuple[Rung, ...] = ("different", "not run")
MULTIPLE = 3
ALPHA = 0.05  # of the tests of equivalence
ROUNDING = 1e-9  # of the value: what the order of a sum may change where repeats happened to agree
Value = float | int | None


@dataclass(frozen=True)
class Step:
    """Where one claim or table cell stands; `tolerance` is what its value may differ by, `test` what was tested.

    `verdicts` are those on a claim: in the reference, and here.
    """

    name: str
    rung: Rung
    reason: str = ""
    reference: Value = None
    reproduced: Value = None
    tolerance: float | None = None
    test: Equivalence | None = None
    verdicts: tuple[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """What certificate.json says about it."""
        stated = {"name": self.name, "rung": self.rung, "reference": self.reference, "reproduced": self.reproduced}
        stated |= {"reason": self.reason, "tolerance": self.tolerance}
        if self.verdicts is not None:
            stated["verdicts"] = dict(zip(("reference", "reproduced"), self.verdicts, strict=True))
        return stated | ({} if self.test is None else {"test": self.test.as_json()})


def tolerance(reference: float, found: float, spread: float, margin: float | None = None) -> float:
    """`MULTIPLE` times the largest difference that repeats have shown, or the margin if less; never less than rounding.

    A difference that claims say matters still matters where repeats scatter more than that.
    """
    allowed = MULTIPLE * spread if margin is None else min(MULTIPLE * spread, margin)
    return max(allowed, ROUNDING * max(abs(reference), abs(found)))


def climb(
    name: str,
    reference: Value,
    found: Value,
    spread: float,
    *,
    reasons: str,
    elsewhere: bool,
    margin: float | None = None,
    test: Callable[[], Equivalence] | None = None,
) -> Step:
    """The highest rung that two values stand on.

    Args:
        name: of the claim or the cell.
        reference: the value to reproduce; None where there is none.
        found: the reproduction's.
        spread: the largest difference between repeats that the reference was made with.
        reasons: what differs between the two machines and plans; stated on every rung but the first.
        elsewhere: whether machine, libraries or data differ. Only there is a number without a margin not judged.
        margin: what claims let the value differ by; None where they say nothing of it. 0 is for counts.
        test: the two one-sided tests, where a margin above 0 was fixed.
    """
    if reference is None or found is None:
        if reference is None and found is None:
            return Step(name, "incomparable", "no value on either side")
        missing = "the reproduction" if found is None else "the reference"
        return Step(name, "not run" if found is None else "different", f"{missing} has no value", reference, found)
    if reference == found:
        return Step(name, "bitwise", "", reference, found)
    allowed = tolerance(reference, found, spread, margin)
    if margin is not None and margin < MULTIPLE * spread:
        wide = f"{MULTIPLE} times the spread of repeats, {MULTIPLE * spread:.3g}, is wider"
        reasons = f"the tolerance is the margin, {margin:g}: {wide}; {reasons}"
    if abs(found - reference) <= allowed:
        return Step(name, "within tolerance", reasons, reference, found, allowed)
    if test is not None:
        outcome = test()
        rung: Rung = "equivalent" if outcome.shown else "different"
        told = outcome.text() if outcome.shown or outcome.reason else f"not shown equivalent: {outcome.text()}"
        return Step(name, rung, f"{told}; {reasons}", reference, found, allowed, outcome)
    if elsewhere:
        told = "beyond the spread of repeats, and no margin is fixed for it"
        return Step(name, "incomparable", f"{told}; {reasons}", reference, found, allowed)
    return Step(name, "different", f"beyond the tolerance of {allowed:.3g}; {reasons}", reference, found, allowed)


def judged(step: Step, there: str, here: str) -> Step:
    """The step of a claim, given the verdict on it in the reference, `there`, and in the reproduction, `here`.

    Where these differ the paper would state something else, however near the values are: the claim is different. One
    that is not compared, or that has no value on a side, stays where it is.
    """
    step = replace(step, verdicts=(there, here))
    if there == here:
        return step
    told = f"verdict: {there} in the reference, {here} here"
    if step.rung in FAILS or step.rung == "incomparable":
        return replace(step, reason=f"{step.reason}; {told}")
    told = f"{told}: the paper would state something else, though the value alone stands on '{step.rung}'"
    return replace(step, rung="different", reason=f"{told}; {step.reason}".removesuffix("; "))
