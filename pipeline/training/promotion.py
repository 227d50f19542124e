"""Whether a candidate may take over as champion: a list of rules over its evaluation.

What blocks is here and in the checks of the assets upstream; everything else informs. A plug-in may add a rule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.training.evaluation import Evaluation


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may take over, and why."""

    promote: bool
    reason: str


Rule = Callable[[Evaluation], Verdict]
"""One condition of a promotion. It reads the evaluation and nothing else."""


def beats_the_constant(evaluation: Evaluation) -> Verdict:
    """Ahead of the constant on more tasks of the test rows than behind it."""
    verdicts = evaluation.verdicts["constant"]
    behind = sorted(task for task, verdict in verdicts.items() if verdict == "behind")
    ahead = sum(verdict == "ahead" for verdict in verdicts.values())
    reason = f"ahead of the constant on {ahead} of {len(verdicts)} tasks, behind on {len(behind)}"
    if behind:
        reason += f" ({', '.join(behind)})"
    return Verdict(ahead > len(behind), reason)


RULES: tuple[Rule, ...] = (beats_the_constant,)


def judge(evaluation: Evaluation, rules: Sequence[Rule] = RULES) -> Verdict:
    """A candidate takes over when every rule agrees; the reason names those that refuse, or all where none does."""
    verdicts = [rule(evaluation) for rule in rules]
    refused = [verdict for verdict in verdicts if not verdict.promote]
    return Verdict(not refused, "; ".join(verdict.reason for verdict in refused or verdicts))
