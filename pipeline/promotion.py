"""Whether a candidate may score. What blocks is here and in the checks upstream; everything else informs."""

import json
from dataclasses import dataclass

from pipeline.candidate import Candidate


@dataclass(frozen=True)
class PromotionVerdict:
    """Whether a candidate may score, and why."""

    promote: bool
    reason: str


def promotion_verdict(work: Candidate) -> PromotionVerdict:
    """A candidate takes over unless it is no better than the constant on most tasks of the test rows.

    The blocking checks upstream have passed already when this is asked.
    """
    verdicts = json.loads((work.folder / "evaluation.json").read_text())["verdicts"]["constant"]
    worse = sorted(task for task, verdict in verdicts.items() if verdict == "worse")
    better = sum(verdict == "better" for verdict in verdicts.values())
    reason = f"better than the constant on {better} of {len(verdicts)} tasks, worse on {len(worse)}"
    if worse:
        reason += f" ({', '.join(worse)})"
    return PromotionVerdict(better > len(worse), reason)
