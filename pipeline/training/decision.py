"""Whether a training is due for an as-of date."""

from dataclasses import dataclass
from datetime import date

from pipeline.resources.tracking import RegisteredVersion


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


def decide(champion: RegisteredVersion | None, as_of: date, retrain_after_days: int) -> Decision:
    """A training is due where there is no champion or it is too old, never for a date whose future it knows."""
    if champion is None:
        return Decision(True, False, "there is no champion yet", "none")
    age = (as_of - champion.as_of).days
    name = f"version {champion.version}, trained as of {champion.as_of}"
    if age < 0:
        return Decision(False, True, "the champion was trained on later events: this is a hindsight run", name)
    if age >= retrain_after_days:
        return Decision(True, False, f"the champion is {age} days old (limit {retrain_after_days})", name)
    return Decision(False, False, f"the champion is {age} days old (limit {retrain_after_days})", name)
