"""What the thirty nights must show, each with its figure."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.thirty_nights import skill
from benchmarks.thirty_nights.calendar import BAD, BETTER, DRIFT, NIGHTS, RETENTION, SABOTAGED, TASK, day_of
from benchmarks.thirty_nights.skill import BEFORE_DRIFT, FALLEN, RESTORED, SAME_NIGHT, SKILL, shown
from benchmarks.thirty_nights.story import Notes, Story
from ple_model.evaluation.bootstrap import Interval

ALARM_WITHIN = 3
"""Nights, the first after the drift among them."""
HELD_TWICE = ("keep_nights", "keep_features")
"""Settings that keep the newest dates, and as many that were made last."""
GROWTH = 1.1
"""The last night's disk may exceed the largest one of the nights in which retention is full by so much."""
FULL = range(RETENTION["keep_nights"] + 2, NIGHTS - 4)


@dataclass(frozen=True)
class Claim:
    """what: must hold. figure: what was measured."""

    what: str
    holds: bool
    figure: str

    @property
    def line(self) -> str:
        """For the terminal."""
        return f"{'holds' if self.holds else 'FAILS'}: {self.what}: {self.figure}"


Nights = dict[str, Notes]


def judge(story: Story, notes: Nights) -> list[Claim]:
    """Every claim."""
    return [*_alarm(notes), _bad(notes), *_skill(skill.measure(story, notes)), *_promotion(notes), *_disk(notes)]


def alarms(notes: Nights) -> dict[int, list[str]]:
    """Night → columns that alarm, where any does."""
    by_night = {night: notes[f"night {night}"]["alarms"] for night in range(1, NIGHTS + 1)}
    return {night: columns for night, columns in by_night.items() if columns}


def _alarm(notes: Nights) -> list[Claim]:
    found = alarms(notes)
    first = min((night for night in found if night >= DRIFT), default=None)
    told = first is not None and "alert, drift:" in notes[f"night {first}"]["printed"]
    return [
        Claim("no night before the drift alarms", all(night >= DRIFT for night in found), str(found and min(found))),
        Claim(
            f"the alarm comes within {ALARM_WITHIN} nights, and is told",
            first is not None and first < DRIFT + ALARM_WITHIN and told,
            f"night {first}, {len(found[first])} columns, first {found[first][0]}" if first else "no alarm",
        ),
    ]


def _bad(notes: Nights) -> Claim:
    bad = notes["bad delivery"]
    nothing = f"no scores of {day_of(BAD)} are published"
    says = "table transactions:" in bad["printed"] and nothing in bad["printed"]
    return Claim(
        "the bad delivery is set aside, the night says so and publishes nothing; the repaired one is scored",
        says
        and bad["quarantined"] >= bad["spoilt"]
        and not bad["published"]
        and bad["yesterday as before"]
        and "rows scored" in notes[f"night {BAD}"]["facts"],
        f"{bad['quarantined']:,} of {bad['rows']:,} rows in quarantine, {bad['spoilt']:,} were spoilt",
    )


def _skill(measured: skill.Skill) -> list[Claim]:
    fell = measured.differences[f"{FALLEN} less {BEFORE_DRIFT}"]
    rose = measured.differences[f"{RESTORED} less {FALLEN}"]
    same = measured.differences[SAME_NIGHT]
    return [
        Claim(f"realised skill of {TASK} falls with the drift", (fell.high or 0.0) < 0, f"{SKILL} {shown(fell)}"),
        Claim(
            "the retraining restores it, on labels that matured afterwards",
            (rose.low or 0.0) > 0 and (rose.estimate or 0.0) > -0.5 * (fell.estimate or 0.0),
            f"{SKILL} {shown(rose)}",
        ),
        Claim(
            "on one night the new version is better than the one that it replaced",
            (same.low or 0.0) > 0,
            f"{SKILL} {shown(same)}",
        ),
    ]


def _version(notes: Nights, night: int) -> tuple[str, Notes]:
    """Number and tags of the version that was trained in a night."""
    versions = notes[f"night {night}"]["versions"]
    return next((number, tags) for number, tags in versions.items() if tags["as_of"] == str(day_of(night)))


def _promotion(notes: Nights) -> list[Claim]:
    bad, refused = _version(notes, SABOTAGED)
    good, promoted = _version(notes, BETTER)
    rows = (notes[f"night {BETTER}"]["challenge"] or {"against": {}})["against"].get("champion", [])
    beside = next((row for row in rows if row["task"] == TASK), None)
    interval = beside["difference"] if beside else {}
    figure = shown(Interval(**interval)) if interval else "not compared"
    back = notes["rollback"]
    return [
        Claim(
            "the sabotaged challenger is refused",
            refused["promotion"] == "refused" and notes[f"night {SABOTAGED}"]["version"] != bad,
            f"version {bad}: {refused['promotion.reason']}",
        ),
        Claim(
            "the better challenger is promoted",
            promoted["promotion"] == "promoted" and notes[f"night {BETTER}"]["version"] == good,
            f"version {good}: {promoted['promotion.reason']}; beside the champion {figure}",
        ),
        Claim(
            "after the rollback the night before gives its old scores bit for bit, and the promotion the new ones",
            back["as before"] and back["forward as before"] and back["version"] != good,
            f"version {back['version']} scored night {BETTER}",
        ),
    ]


def _disk(notes: Nights) -> list[Claim]:
    last = notes[f"night {NIGHTS}"]
    limits = {name: (2 if name in HELD_TWICE else 1) * RETENTION[name] for name in last["kept"]}
    limits["keep_versions"] += len({notes[f"night {night}"]["version"] for night in FULL}) + 2
    highest, now = (
        max(notes[f"night {night}"]["MiB"]["home"] - notes[f"night {night}"]["MiB"]["mlflow"] for night in nights)
        for nights in (FULL, [NIGHTS])
    )
    return [
        Claim(
            "at the end no more is kept than stated",
            all(count <= limits[name] for name, count in last["kept"].items()),
            ", ".join(f"{name} {count} (at most {limits[name]})" for name, count in last["kept"].items()),
        ),
        Claim(
            "the home has stopped growing but for versions of the model, which are counted above",
            now <= GROWTH * highest,
            f"{now:.0f} MiB, at most {highest:.0f} in nights {FULL[0]} to {FULL[-1]}",
        ),
    ]
