"""Whether a training is due for an as-of date."""

from dataclasses import dataclass
from datetime import date

from pipeline.resources.tracking import HELD, REFUSED, ROLLED_BACK, RegisteredVersion


@dataclass(frozen=True)
class Decision:
    """Whether a training is due, and why.

    due: no champion, or one that is too old. hindsight: the champion was trained on events at or after the as-of date;
    such a date is never trained on. champion: the standing champion in words.
    """

    due: bool
    hindsight: bool
    reason: str
    champion: str


def decide(
    champion: RegisteredVersion | None,
    as_of: date,
    retrain_after_days: int,
    challenger: RegisteredVersion | None = None,
) -> Decision:
    """A training is due where there is no champion or it is too old, never for a date whose future it knows.

    A challenger that is young enough and judged stands for the training: one that waits for a person, that was refused
    or rolled back is not trained again before the next is due, nor is an older one beside it, for an earlier date.
    Without a champion only the one that waits does.
    """
    if champion is None:
        if challenger is not None and challenger.status == HELD:
            return Decision(False, False, f"no champion yet; {waiting(challenger)}", "none")
        return Decision(True, False, "there is no champion yet", "none")
    age = (as_of - champion.as_of).days
    name = f"version {champion.version}, trained as of {champion.as_of}"
    if age < 0:
        return Decision(False, True, "the champion was trained on later events: this is a hindsight run", name)
    if age >= retrain_after_days:
        if challenger is not None and _stands(challenger, as_of, retrain_after_days):
            return Decision(False, False, waiting(challenger), name)
        return Decision(True, False, f"the champion is {age} days old (limit {retrain_after_days})", name)
    return Decision(False, False, f"the champion is {age} days old (limit {retrain_after_days})", name)


def _stands(challenger: RegisteredVersion, as_of: date, retrain_after_days: int) -> bool:
    young = (as_of - challenger.as_of).days < retrain_after_days
    return young and challenger.status in (HELD, REFUSED, ROLLED_BACK)


def waiting(challenger: RegisteredVersion) -> str:
    """A challenger that is not the champion, in words."""
    asks = f" (`ple promote {challenger.version}`)" if challenger.status == HELD else ""
    status = challenger.status or "not judged yet"
    return f"version {challenger.version}, trained as of {challenger.as_of}, is {status}{asks}"
