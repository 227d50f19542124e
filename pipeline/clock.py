"""Ages by the clock of the machine, which somebody may set while a home lies there.

Nothing is ordered by it: dates are as-of dates, attempts are numbered, and a pointer says what is published. Where a
thing goes because it is old, its age is measured here.
"""

import time


def age(since: float) -> float:
    """Seconds between an instant (since 1970) and now, never negative: what was noted before the clock was set back
    grows older all the same, and does not wait until the clock has come round to it."""
    return abs(time.time() - since)
