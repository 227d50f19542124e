"""Whether a challenger may take over as champion: findings about it, each of which blocks or informs.

What blocks: too little skill over the constant; a task that matters, or most tasks, worse than the champion's; no
reason to change; calibration, coverage of customers, schema, leaks, latency, and the rules of plug-ins. What informs:
boosted trees, and each of the other tasks. A person may overrule it (`ple promote`); applying the outcome belongs to
`takeover.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import polars as pl

from pipeline.settings import PromotionSettings
from pipeline.training import baselines
from pipeline.training.challenge import CHAMPION, Beside, Challenge
from pipeline.training.evaluation import MODEL, Evaluation
from pipeline.training.rehearsal import Rehearsal

CALIBRATION_TEST = 0.05
"""Share of calibrated forecasts that show as large an error, below which a forecast is not calibrated."""


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may take over, and why."""

    promote: bool
    reason: str


Rule = Callable[[Evaluation], Verdict]
"""One condition of a promotion that a plug-in adds; it blocks. It reads the evaluation and nothing else."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. passed: None where it says neither yes nor no, which never blocks."""

    about: str
    passed: bool | None
    words: str
    blocks: bool

    @property
    def refuses(self) -> bool:
        """Whether it keeps the challenger from taking over."""
        return self.blocks and self.passed is False


@dataclass(frozen=True)
class Evidence:
    """All that a judgement reads.

    leaks: columns that solve a task, None where nobody looked. age_days: from the champion's training date to the
    challenger's; None without a champion. rolled_back: whether a person has taken the version back before.
    """

    evaluation: Evaluation
    challenge: Challenge
    rehearsal: Rehearsal
    leaks: Sequence[str] | None
    age_days: int | None = None
    rolled_back: bool = False


@dataclass(frozen=True)
class Judgement:
    """The findings, those that block first."""

    findings: tuple[Finding, ...]

    @property
    def promote(self) -> bool:
        """Whether the challenger may take over: nothing refuses."""
        return not any(finding.refuses for finding in self.findings)

    @property
    def reason(self) -> str:
        """Why not, or what let it pass."""
        refused = [finding for finding in self.findings if finding.refuses]
        return "; ".join(finding.words for finding in refused or self.findings if finding.blocks)

    def table(self, blocks: bool) -> pl.DataFrame:
        """A row a finding, of those that block or those that inform."""
        passed = {True: "passed", False: "failed", None: "–"}
        rows = [
            {"looked at": finding.about, "outcome": passed[finding.passed], "finding": finding.words}
            for finding in self.findings
            if finding.blocks is blocks
        ]
        return pl.DataFrame(rows, schema={"looked at": pl.String, "outcome": pl.String, "finding": pl.String})

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "promote": self.promote,
            "reason": self.reason,
            "findings": [asdict(finding) for finding in self.findings],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """From the JSON form."""
        return cls(tuple(Finding(**row) for row in content["findings"]))


def judge(evidence: Evidence, settings: PromotionSettings, rules: Sequence[Rule] = ()) -> Judgement:
    """All findings about a challenger; `rules` are those of plug-ins."""
    found = [
        better_than_the_constant(evidence.evaluation, settings),
        *no_worse_than_the_champion(evidence, settings),
        *not_worse_on_most_tasks(evidence.challenge),
        a_reason_to_change(evidence, settings),
        *calibrated(evidence.evaluation, settings),
        covers_everybody(evidence.rehearsal, settings),
        fits_the_schema(evidence.rehearsal),
        without_leaks(evidence.leaks),
        fast_enough(evidence.rehearsal, settings),
    ]
    for rule in rules:
        verdict = rule(evidence.evaluation)
        found.append(
            Finding(getattr(rule, "__name__", "a rule").replace("_", " "), verdict.promote, verdict.reason, True)
        )
    if evidence.rolled_back:
        found.append(Finding("a person's word", False, "a person has rolled it back", True))
    found += [*beside_trees(evidence.challenge)]
    return Judgement(tuple(sorted(found, key=lambda finding: not finding.blocks)))


def better_than_the_constant(evaluation: Evaluation, settings: PromotionSettings) -> Finding:
    """Ahead of the constant on more tasks of the test rows than behind it, and behind on no critical one."""
    verdicts = evaluation.verdicts[baselines.CONSTANT]
    behind = sorted(task for task, verdict in verdicts.items() if verdict == "behind")
    ahead = sum(verdict == "ahead" for verdict in verdicts.values())
    words = f"ahead of the constant on {ahead} of {len(verdicts)} tasks, behind on {len(behind)}"
    if behind:
        words += f" ({', '.join(behind)})"
    passed = ahead > len(behind) and not set(behind) & set(settings.critical)
    unknown = sum(verdict == "open" for verdict in verdicts.values())
    if unknown and not passed:
        words += f", and on {unknown} the test rows are too few to say"
    return Finding("skill", passed, words, True)


def no_worse_than_the_champion(evidence: Evidence, settings: PromotionSettings) -> Iterator[Finding]:
    """A finding a task: on a critical one it blocks, on any other it informs."""
    for task, beside in evidence.challenge.of(CHAMPION).items():
        critical = task in settings.critical
        yield Finding(f"{task} beside the champion", _no_worse(beside, critical), _beside_champion(beside), critical)


def not_worse_on_most_tasks(challenge: Challenge) -> Iterator[Finding]:
    """Behind the champion on at most half of the tasks that compare. Where the champion has fallen on the one task that
    matters, a version that learnt nothing is better; the other tasks tell it from one that learnt."""
    measured = [beside for beside in challenge.of(CHAMPION).values() if beside.measured]
    if not measured:
        return
    behind = sorted(beside.task for beside in measured if beside.verdict == "behind")
    words = f"worse than the champion on {len(behind)} of the {len(measured)} tasks that compare"
    if behind:
        words += f" ({', '.join(behind)})"
    yield Finding("tasks beside the champion", 2 * len(behind) <= len(measured), words, True)


def _no_worse(beside: Beside, critical: bool) -> bool | None:
    """Without an interval a critical task fails where both versions answer the same question: nobody could say."""
    if not beside.measured:
        return False if critical and beside.comparable else None
    return beside.no_worse if critical else beside.verdict != "behind"


def _beside_champion(beside: Beside) -> str:
    if not beside.measured:
        return f"{beside.task}: {beside.note or 'nothing to compare'}"
    low, high = beside.difference["low"], beside.difference["high"]
    words = f"{beside.task} {beside.metric} {beside.difference['estimate']:+.4f} [{low:+.4f}, {high:+.4f}]"
    if beside.no_worse:
        return f"{words}, no worse than the champion by more than {beside.margin:.3g}"
    why = "worse than the champion" if beside.verdict == "behind" else "too uncertain"
    return f"{words}: {why}, it may be worse by {beside.margin:.3g} at most"


def a_reason_to_change(evidence: Evidence, settings: PromotionSettings) -> Finding:
    """Better than the champion on some task, or the champion is too old; always where there is none to compare with."""
    challenge, age = evidence.challenge, evidence.age_days
    if age is None:
        return Finding("a reason to change", True, "there is no champion yet", True)
    if challenge.refused:
        return Finding("a reason to change", True, challenge.refused, True)
    found = challenge.of(CHAMPION)
    better = sorted(task for task, beside in found.items() if beside.verdict == "ahead")
    if better:
        return Finding("a reason to change", True, f"better than the champion on {', '.join(better)}", True)
    words = f"the champion is {age} days older (limit {settings.max_age_days})"
    if age > settings.max_age_days:
        return Finding("a reason to change", True, words, True)
    return Finding("a reason to change", False, f"better than the champion on no task, and {words}", True)


def calibrated(evaluation: Evaluation, settings: PromotionSettings) -> Iterator[Finding]:
    """A finding a task with probabilities: it fails where the error is beyond the limit and beyond chance."""
    measured: dict[str, dict[str, float | None]] = {}
    for row in evaluation.metrics:
        if row["model"] == MODEL:
            measured.setdefault(row["task"], {})[row["metric"]] = row["value"]
    for task, values in measured.items():
        error, chance = values.get("ece_debiased"), values.get("calibration_p")
        if error is None or chance is None:
            continue
        words = (
            f"{task}: calibration error {error:.3f} (limit {settings.max_calibration_error:g}); chance alone would "
            f"give as much in {chance:.0%} of cases"
        )
        passed = not (error > settings.max_calibration_error and chance < CALIBRATION_TEST)
        yield Finding(f"calibration of {task}", passed, words, task in settings.critical)


def covers_everybody(rehearsal: Rehearsal, settings: PromotionSettings) -> Finding:
    """Each known customer has one sound row, and critical tasks do not answer with base rates throughout."""
    drowned = sorted(
        task
        for task, share in rehearsal.fallback.items()
        if task in settings.critical and share > settings.max_fallback_share
    )
    words = f"{rehearsal.scored:,} of {rehearsal.customers:,} customers scored"
    if rehearsal.problems:
        words += ": " + "; ".join(rehearsal.problems)
    if drowned:
        words += f"; base rates stand in for more than {settings.max_fallback_share:.0%} of {', '.join(drowned)}"
    passed = rehearsal.scored == rehearsal.customers and not rehearsal.problems and not drowned
    return Finding("coverage of customers", passed, words, True)


def fits_the_schema(rehearsal: Rehearsal) -> Finding:
    """The bundle was trained under the schema and with the fitted state that a night would use."""
    return Finding("schema", not rehearsal.mismatch, rehearsal.mismatch or "the schema and the state fit", True)


def without_leaks(leaks: Sequence[str] | None) -> Finding:
    """No column solves a task."""
    if leaks is None:
        return Finding("leaks", False, "nobody looked for leaks: run the training again", True)
    return Finding("leaks", not leaks, f"leaks: {', '.join(leaks)}" if leaks else "no column solves a task", True)


def fast_enough(rehearsal: Rehearsal, settings: PromotionSettings) -> Finding:
    """Scoring keeps within the time that the settings allow."""
    words = f"{rehearsal.seconds_per_1000:.2f} s for 1,000 customers (limit {settings.max_seconds_per_1000:g})"
    return Finding("latency", rehearsal.seconds_per_1000 <= settings.max_seconds_per_1000, words, True)


def beside_trees(challenge: Challenge) -> Iterator[Finding]:
    """A finding a task: how it stands beside boosted trees. It informs."""
    for task, beside in challenge.of(baselines.BOOSTING).items():
        passed = None if not beside.measured else beside.verdict != "behind"
        yield Finding(f"{task} beside {baselines.BOOSTING}", passed, f"{task}: {beside.verdict}", False)
