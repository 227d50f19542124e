from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ple_model.config import InputConfig
from ple_model.inputs import Inputs
from ple_model.interpretation.concepts import ConceptReport

CONFIG = InputConfig(columns=("a__x", "a__y", "b__z", "c__w", "c__raw"), present=(0, 1, 2, 4), normalised=4, sides=())
PRESENT = (0, 1, 2, 4)
ROWS, LATENTS = 60, 7
STAGES = ("new", "steady", "dormant")


def _data() -> tuple[torch.Tensor, Inputs, dict[str, torch.Tensor], list[str]]:
    features = torch.randn(ROWS, 5)
    features[:, 4] = (3 * features[:, 4]).exp()
    mask = torch.rand(ROWS, 5) > 0.25
    latents = torch.randn(ROWS, LATENTS).relu()
    latents[:, 0] = (2.0 * features[:, 1]).relu() * mask[:, 1]
    latents[:, 3] = 0.0
    tasks = {"churn": torch.rand(ROWS), "life_stage": torch.rand(ROWS, 3).softmax(1)}
    tasks["churn"][5] = math.nan
    features = torch.where(mask, features, torch.nan)
    inputs = Inputs(features, mask, torch.full((ROWS, 20), 0.05))
    return latents, inputs, tasks, [f"c{i}" for i in range(ROWS)]


def _report(batch: int, **changes: int) -> ConceptReport:
    torch.manual_seed(0)
    latents, inputs, tasks, customers = _data()
    report = ConceptReport(CONFIG, **changes, classes={"life_stage": STAGES})
    for rows in torch.arange(ROWS).split(batch):
        report.add(
            latents[rows],
            inputs.index(rows),
            {name: values[rows] for name, values in tasks.items()},
            [customers[i] for i in rows.tolist()],
        )
    return report


@pytest.mark.parametrize("batch", [60, 17, 1])
def test_correlations_are_numpys_over_rows_that_have_the_column(batch: int) -> None:
    frame = _report(batch, strongest=10).frame()
    torch.manual_seed(0)
    latents, inputs, tasks, _ = _data()
    columns = {CONFIG.columns[i]: inputs.features[:, i] for i in PRESENT}
    raw = columns["c__raw"]
    columns["c__raw"] = raw.sign() * raw.abs().log1p()
    outputs = {"churn": tasks["churn"]} | {f"life_stage[{k}]": tasks["life_stage"][:, i] for i, k in enumerate(STAGES)}
    for row in frame.iter_rows(named=True):
        z = latents[:, row["latent"]].double().numpy()
        for given, found in ((columns, row["features"]), (outputs, row["tasks"])):
            assert {item["name"] for item in found} == set(given)
            sizes = [abs(item["correlation"]) for item in found]
            assert sizes == sorted(sizes, reverse=True)
            for item in found:
                x = given[item["name"]].double().numpy()
                there = np.isfinite(x)
                want = np.corrcoef(z[there], x[there])[0, 1]
                assert item["correlation"] == pytest.approx(want, abs=1e-5)


def test_planted_latent_names_its_feature_and_dead_ones_are_left_out() -> None:
    frame = _report(17, strongest=2)
    rows = {row["latent"]: row for row in frame.frame().iter_rows(named=True)}
    assert sorted(rows) == [0, 1, 2, 4, 5, 6]
    assert rows[0]["features"][0]["name"] == "a__y"
    assert rows[0]["features"][0]["correlation"] > 0.7
    assert len(rows[0]["features"]) == len(rows[0]["tasks"]) == 2


@pytest.mark.parametrize("batch", [60, 17, 1])
def test_frequency_activation_and_top_customers(batch: int) -> None:
    frame = _report(batch, customers=3).frame()
    torch.manual_seed(0)
    latents, _, _, _ = _data()
    assert frame["selectivity"].is_sorted(descending=True)
    for row in frame.iter_rows(named=True):
        z = latents[:, row["latent"]]
        want = 1.0 - z.double().mean() ** 2 / (z.double() ** 2).mean()
        assert row["selectivity"] == pytest.approx(want.item(), rel=1e-6)
        assert row["frequency"] == pytest.approx((z > 0).float().mean().item())
        assert row["mean_activation"] == pytest.approx(z[z > 0].mean().item(), rel=1e-5)
        order = z.argsort(descending=True)[:3]
        assert [item["customer_id"] for item in row["top_customers"]] == [f"c{i}" for i in order.tolist()]
        assert [item["activation"] for item in row["top_customers"]] == pytest.approx(z[order].tolist())


def test_the_most_selective_come_first_but_what_few_have_comes_last() -> None:
    rows = 200
    latents = torch.zeros(rows, 4)
    latents[:, 0] = 1.0
    latents[:100, 1] = 1.0
    latents[:20, 2] = 3.0
    latents[:2, 3] = 9.0
    inputs = Inputs(torch.randn(rows, 5), torch.ones(rows, 5, dtype=torch.bool), torch.full((rows, 20), 0.05))
    report = ConceptReport(CONFIG)
    report.add(latents, inputs, {}, [str(i) for i in range(rows)])
    frame = report.frame()
    assert frame["latent"].to_list() == [2, 1, 0, 3]
    assert frame["selectivity"].to_list() == pytest.approx([0.9, 0.5, 0.0, 0.99])


def test_large_means_and_constants_do_not_make_a_correlation() -> None:
    rows = 500
    latents = torch.rand(rows, 2)
    latents[:, 1] = 0.5
    features = torch.zeros(rows, 5)
    features[:, 0] = 1e4 + latents[:, 0]
    features[:, 1] = 12345.678
    inputs = Inputs(features, torch.ones(rows, 5, dtype=torch.bool), torch.full((rows, 20), 0.05))
    report = ConceptReport(CONFIG)
    for part in torch.arange(rows).split(50):
        report.add(latents[part], inputs.index(part), {}, [str(i) for i in part.tolist()])
    found = {row["latent"]: row for row in report.frame().iter_rows(named=True)}
    assert found[1]["features"] == []
    assert [item["name"] for item in found[0]["features"]] == ["a__x"]
    assert found[0]["features"][0]["correlation"] == pytest.approx(1.0, abs=1e-4)
    assert found[0]["tasks"] == []


def test_customers_kept_are_bounded_by_the_latents_and_not_by_the_rows() -> None:
    report = _report(1, customers=2)
    assert len(report.customers) <= 2 * LATENTS


def test_unequal_rows_other_tasks_and_no_rows_are_errors() -> None:
    latents, inputs, tasks, customers = _data()
    report = ConceptReport(CONFIG)
    with pytest.raises(ValueError, match="no rows yet"):
        report.frame()
    with pytest.raises(ValueError, match="60 rows of latents"):
        report.add(latents, inputs, tasks, customers[:-1])
    report.add(latents, inputs, tasks, customers)
    with pytest.raises(ValueError, match="the ones before had"):
        report.add(latents, inputs, {"churn": tasks["churn"]}, customers)
