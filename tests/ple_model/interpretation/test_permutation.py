"""Permutation importance: an input that is read costs loss when it is shuffled, one that is not read costs nothing."""

from collections.abc import Callable

import polars as pl
import pytest
import torch

from ple_model.config import InputConfig, ModelConfig
from ple_model.inputs import Inputs, Targets
from ple_model.interpretation.permutation import TOGETHER, input_sets, permutation_importance, readers, shuffled
from ple_model.model import PLEClusterAdaTT
from ple_model.multitask import evaluating
from ple_model.training.data import TensorTable
from tests.ple_model import samples

Parts = tuple[PLEClusterAdaTT, TensorTable]


@pytest.fixture(scope="module")
def trained() -> Parts:
    from ple_model.training.trainer import fit

    model, train, valid = samples.ready(1024)
    settings = samples.training(phase1_epochs=8, learning_rate=0.01, batch_size_cpu=32)
    fit(model, train, valid, settings, None, progress=False)
    return model, valid


def test_every_input_of_the_configuration_is_shuffled(trained: Parts) -> None:
    model, table = trained
    found = input_sets(model.config.inputs)
    assert tuple(found) == ("features_normalised", "features_raw", "cluster_probs", "txn_seq", "hmm_journey")
    order = torch.randperm(len(table))
    for name, joint in found.items():
        before, after = table.inputs.tensors(), shuffled(table.inputs, joint, order).tensors()
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert changed
        if name == "txn_seq":
            assert changed == {"side/txn_seq", "mask/txn_seq", "present/txn_seq"}
            assert torch.equal(after["side/txn_seq"], before["side/txn_seq"][order])


def test_columns_that_carry_the_labels_matter_and_the_answer_repeats(trained: Parts) -> None:
    model, table = trained
    found = permutation_importance(model, table.inputs, table.targets, seed=3)
    assert found.height == len(input_sets(model.config.inputs)) * len(model.task_names)
    relative = found.with_columns(added=pl.col("increase") / pl.col("loss"))
    by_input = dict(relative.group_by("input").agg(pl.col("added").mean()).iter_rows())
    assert by_input["features_normalised"] > 0.02  # the labels follow from these columns
    assert by_input["features_normalised"] > 10 * abs(by_input["txn_seq"])  # and from no other input
    assert found.filter(pl.col("input") == "txn_seq")["share"][0] == pytest.approx(6 / 7, abs=0.01)
    again = permutation_importance(model, table.inputs, table.targets, seed=3)
    assert found.equals(again)


def test_an_input_is_dealt_out_among_the_rows_that_read_it(
    make_inputs: Callable[..., Inputs], input_config: InputConfig
) -> None:
    inputs, found = make_inputs(), input_sets(input_config)
    segment = inputs.sides["segment"][:, 0]
    for name, code in (("anonymous", 0), ("coldstart", 1)):
        mine = inputs.present[name] & inputs.present["segment"] & (segment == code)
        assert torch.equal(readers(inputs, found[name]), mine)
        assert mine.any()
    assert torch.equal(readers(inputs, found["txn_seq"]), inputs.present["txn_seq"])
    assert readers(inputs, found["features_raw"]).all()
    assert readers(inputs, found["topology"]).all()


def test_what_tells_the_same_is_shuffled_as_a_whole(
    make_inputs: Callable[..., Inputs], input_config: InputConfig
) -> None:
    """All of it from one other customer, and nothing else."""
    columns = (
        "base__a",
        "tda_long__a",
        "phase_transition__a",
        "gmm__a",
        "hmm_summary__a",
        "mamba__a",
        "raw_power_law__0",
    )
    config = InputConfig(columns=columns, present=tuple(range(7)), normalised=6, clusters=5, sides=input_config.sides)
    inputs, found = make_inputs(config=config), input_sets(config)
    assert set(TOGETHER) <= set(found)
    order = torch.randperm(len(inputs))
    for name, (sides, groups) in TOGETHER.items():
        mine = torch.tensor([column.split("__")[0] in groups for column in config.columns])
        assert mine.any(), name
        after = shuffled(inputs, found[name], order)
        assert torch.equal(after.features[:, mine], inputs.features[order][:, mine])
        assert torch.equal(after.features[:, ~mine], inputs.features[:, ~mine])
        for side, values in inputs.sides.items():
            assert torch.equal(after.sides[side], values[order] if side in sides else values)
        expected = inputs.cluster_probs[order] if name == "clusters" else inputs.cluster_probs
        assert torch.equal(after.cluster_probs, expected)


def test_an_input_that_no_row_reads_costs_nothing(
    make_inputs: Callable[..., Inputs], make_targets: Callable[..., Targets], model_config: ModelConfig
) -> None:
    """All eight experts; some of them cannot read a batch without rows."""
    model, inputs = PLEClusterAdaTT(model_config), make_inputs().without("anonymous")
    model.fit_inputs(inputs)
    found = permutation_importance(model, inputs, make_targets(model_config.tasks))
    of_input = found.filter(pl.col("input") == "anonymous")
    assert of_input.height == len(model.task_names)
    assert of_input.select("loss", "increase", "error", "share").sum().row(0) == (0.0, 0.0, 0.0, 0.0)
    assert found["increase"].is_finite().all()


def test_increase_and_error_are_those_of_the_rows_differences(trained: Parts) -> None:
    """By hand, for a regression: squared errors of each row before and after the shuffle."""
    model, table = trained
    found = permutation_importance(model, table.inputs, table.targets, rows=len(table), seed=5)
    row = found.row(by_predicate=(pl.col("input") == "features_raw") & (pl.col("task") == "engagement"), named=True)
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(5))
    other = shuffled(table.inputs, input_sets(model.config.inputs)["features_raw"], order)
    label = model.scale("engagement").standardise(table.targets.values["engagement"].float())[:, 0]
    with torch.no_grad(), evaluating(model):
        errors = [(model(x).predictions["engagement"][:, 0] - label).square() for x in (table.inputs, other)]
    added = (errors[1] - errors[0])[table.targets.mask["engagement"]].double()
    assert row["increase"] == pytest.approx(added.mean().item(), abs=1e-6)
    assert row["error"] == pytest.approx(added.std(correction=0).item() / len(added) ** 0.5, rel=1e-4)


def test_few_rows_are_shuffled_more_often(trained: Parts) -> None:
    """Ten draws instead of one: the mean moves, and its error falls."""
    model, table = trained
    once, often = (
        permutation_importance(model, table.inputs, table.targets, rows=rows, seed=5) for rows in (len(table), 10**6)
    )
    columns = pl.col("input") == "features_normalised"
    assert (once.filter(columns)["increase"] != often.filter(columns)["increase"]).all()
    assert (often.filter(columns)["error"] / once.filter(columns)["error"]).mean() < 0.95


def test_every_module_keeps_its_mode(trained: Parts) -> None:
    model, _ = trained
    model.train()
    model.experts.eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert model.training
    assert not any(module.training for module in model.experts.modules())
