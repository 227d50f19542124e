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
    """Better than the constant on more tasks of the test rows than worse."""
    verdicts = evaluation.verdicts["constant"]
    worse = sorted(task for task, verdict in verdicts.items() if verdict == "worse")
    better = sum(verdict == "better" for verdict in verdicts.values())
    reason = f"better than the constant on {better} of {len(verdicts)} tasks, worse on {len(worse)}"
    if worse:
        reason += f" ({', '.join(worse)})"
    return Verdict(better > len(worse), reason)


RULES: tuple[Rule, ...] = (beats_the_constant,)


def judge(evaluation: Evaluation, rules: Sequence[Rule] = RULES) -> Verdict:
    """A candidate takes over when every rule agrees; the reason names those that refuse, or all where none does."""
    verdicts = [rule(evaluation) for rule in rules]
    refused = [verdict for verdict in verdicts if not verdict.promote]
    return Verdict(not refused, "; ".join(verdict.reason for verdict in refused or verdicts))
