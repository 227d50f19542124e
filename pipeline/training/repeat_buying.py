"""The baseline BG/NBD: what a customer's purchase days alone say, by a model of repeat buying.

BG/NBD answers when somebody buys again, Gamma–Gamma for how much. Both are fitted by maximum likelihood on the last
training date, with the feature state (`groups/base/rfm.py`). A task that declares what it asks of such a model
(`Task.buying`) gets a baseline; where its label is on a scale of its own, the answer is brought to it by a line that is
fitted on training rows. Customers who never bought get the constant.
Source: Fader, Hardie & Lee (2005); Fader & Hardie (2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.base import bgnbd, gamma_gamma, rfm
from feature_assets.groups.base.history import History
from feature_assets.labels import Task, get_task
from feature_assets.labels.merging import pooled
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from ple_model.tasks import TaskConfig

GROUP = "base"
"""The feature group that fits the model."""
LINE_DATES = 4
"""Training dates, evenly spread, on which lines are fitted."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RepeatBuying:
    """`feature_assets.labels.buying.Buying` of N customers.

    Attributes:
        bgnbd: [4] parameters of BG/NBD.
        gamma_gamma: [3] parameters of Gamma–Gamma.
        repeats, last, age: [N] x, t_x and T of BG/NBD, days; NaN for customers who never bought.
        mean: [N] mean spend of a purchase day.
    """

    bgnbd: Floats
    gamma_gamma: Floats
    repeats: Floats
    last: Floats
    age: Floats
    mean: Floats

    @classmethod
    def of(cls, state: GroupState, tables: Tables, rows: pl.DataFrame) -> "RepeatBuying":
        """Of the customers of `rows` (customer_id, as_of), each by what is known before their as-of date."""
        found = np.full((4, rows.height), np.nan)
        for (day,), part in rows.with_row_index("at").group_by("as_of", maintain_order=True):
            assert isinstance(day, date)
            view = View(tables, day)
            history = History.of(view)
            values = np.stack([*rfm.purchase_process(history), rfm.mean_day_spend(history)])
            known = view.customers.select("customer_id").with_row_index("row").join(part, on="customer_id")
            found[:, known["at"].to_numpy()] = values[:, known["row"].to_numpy()]
        return cls(state.arrays["bgnbd"], state.arrays["gamma_gamma"], *found)

    def chance(self, days: int, periods: int = 1) -> Floats:
        """Probability of a purchase in each of `periods` periods of `days` days [N]."""
        return bgnbd.chance_of_purchases(self.bgnbd, days, periods, self.repeats, self.last, self.age)

    def spend(self, days: int) -> Floats:
        """Expected purchase days in [t, t + days) times the expected spend of one, currency [N]."""
        bought = bgnbd.expected_purchases(self.bgnbd, days, self.repeats, self.last, self.age)
        return bought * gamma_gamma.expected_spend(self.gamma_gamma, self.repeats + 1, self.mean)


def answers(
    workspace: Workspace, tables: Tables, rows: pl.DataFrame, tasks: "Sequence[TaskConfig]"
) -> tuple[dict[str, Floats], dict[str, str]]:
    """Task → what the model answers for each of `rows` (customer_id, as_of), NaN where it knows nothing of the
    customer; and task → why there is no answer. Tasks that ask nothing of it are in neither."""
    asking = [task for task in tasks if get_task(task.name).buying is not None]
    state = workspace.state().groups.get(GROUP)
    if not asking or state is None:
        return {}, dict.fromkeys((task.name for task in asking), f"the feature state has no group {GROUP}")
    if not np.isfinite(state.arrays["bgnbd"]).all():
        why = "nobody bought on a second day before the last training date"
        return {}, dict.fromkeys((task.name for task in asking), why)
    model = RepeatBuying.of(state, tables, rows)
    merged = workspace.label_state().merged
    found, absent = {}, {}
    for task in asking:
        declared = get_task(task.name)
        answer = _answer(declared, model, tables)
        if task.name in merged:
            answer = pooled(answer, merged[task.name])
        if not np.isfinite(answer).any():
            absent[task.name] = "it has a finite answer for no test row"
            continue
        if declared.natural is not None:
            answer = _on_the_labels_scale(task, answer, workspace, tables, state)
        found[task.name] = answer
    return found, absent


def _answer(task: Task, model: RepeatBuying, tables: Tables) -> Floats:
    assert task.buying is not None
    return task.buying(model, task.window(tables.dataset))


def _on_the_labels_scale(
    task: "TaskConfig", answer: Floats, workspace: Workspace, tables: Tables, state: GroupState
) -> Floats:
    """`answer` [n] through the line of least squares from the model's answers to the labels of training rows: the
    logarithm of an expectation is no expectation of a logarithm."""
    from ple_model.tasks import kind_of

    labelled = workspace.labels().filter(pl.col("role") == "train", pl.col(task.name).is_not_null())
    days = labelled["as_of"].unique().sort()
    places = np.unique(np.linspace(0, len(days) - 1, min(LINE_DATES, len(days))).round().astype(int))
    some = labelled.filter(pl.col("as_of").is_in(days.gather(places).to_list()))
    told = _answer(get_task(task.name), RepeatBuying.of(state, tables, some.select("customer_id", "as_of")), tables)
    labels, known = some[task.name].to_numpy().astype(np.float64), np.isfinite(told)
    if not known.any():
        return answer
    return kind_of(task).calibrator(answer).fit(told[known], labels[known]).apply(answer)
