"""What a paired difference says: subject less other, in the metric's own direction.

| verdict | interval  | difference         |
|---------|-----------|--------------------|
| ahead   | beyond 0  | the subject better |
| behind  | beyond 0  | the subject worse  |
| level   | holds 0   | within the margin  |
| open    | holds 0   | beyond the margin  |
| unknown | none      |                    |

"Level" needs a small difference too: a wide interval around 0 is an open question, not a draw. The margin belongs to
the kind of task (`Headline.margin`).
"""

from typing import Literal

from ple_model.evaluation.bootstrap import Interval
from ple_model.evaluation.kind import Headline

Verdict = Literal["ahead", "level", "behind", "open", "unknown"]
SIGNS: dict[Verdict, str] = {"ahead": "▲", "level": "=", "behind": "▼", "open": "○", "unknown": "?"}


def verdict(difference: Interval, headline: Headline, other: float | None) -> Verdict:
    """The subject's verdict beside another model's value."""
    if difference.low is None or difference.estimate is None or other is None:
        return "unknown"
    if difference.beyond_zero:
        return "ahead" if difference.estimate * headline.better > 0 else "behind"
    return "level" if abs(difference.estimate) <= headline.margin_at(other) else "open"
