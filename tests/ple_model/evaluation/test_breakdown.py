"""The breakdown equals the metric of each group's rows alone; small groups say so."""

import json

import numpy as np
import pytest

from ple_model.evaluation.breakdown import breakdown
from ple_model.evaluation.metrics import evaluate
from ple_model.tasks import KINDS
from tests.ple_model.evaluation.test_metrics import sample


@pytest.mark.parametrize("kind", KINDS)
def test_each_group_is_measured_on_its_rows_alone(kind: str) -> None:
    predictions, labels = sample(kind, 600)
    groups = np.array(["warm", "cold", "rare", "unlabelled"])[
        np.random.default_rng(0).choice(4, 600, p=[0.6, 0.3, 0.05, 0.05])
    ]
    mask = (np.arange(600) % 4 > 0) & (groups != "unlabelled")
    customers = np.arange(600) // 3
    order = ("cold", "warm", "rare", "unlabelled", "nobody")
    got = breakdown(KINDS[kind], predictions, labels, mask, customers, groups, order=order, resamples=30)
    assert [g.group for g in got] == ["cold", "warm", "rare", "unlabelled"]
    for g in got:
        rows = mask & (groups == g.group)
        assert (g.rows, g.customers) == (rows.sum(), len(set(customers[rows])))
        if g.group in ("rare", "unlabelled"):
            assert g.value is None
            assert g.note == f"{g.rows} labels, 50 are needed"
        else:
            alone = evaluate(KINDS[kind], predictions[rows], labels[rows])
            assert g.value == pytest.approx(alone.values[KINDS[kind].headline.metric])
            assert g.low is not None
            assert g.high is not None
            assert g.low <= g.value <= g.high
    json.dumps([g.to_dict() for g in got], allow_nan=False)


def test_what_does_not_belong_together_is_refused() -> None:
    p, y = sample("binary", 60)
    with pytest.raises(ValueError, match="59 groups for 60 rows"):
        breakdown(KINDS["binary"], p, y, None, np.arange(60), ["a"] * 59)
    with pytest.raises(ValueError, match="without a place"):
        breakdown(KINDS["binary"], p, y, None, np.arange(60), ["a"] * 60, order=("b",))
