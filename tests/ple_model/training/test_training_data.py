"""Tables of tensors: conversion from frames, batches, digests."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ple_model.serving.scorer import inputs_from_frame
from ple_model.training.data import TensorTable, permuted_batches, steps_in, targets_from_frame
from tests.ple_model import samples

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return samples.features(50)


def test_inputs_hold_each_value_under_its_name_and_its_mask(frame: pl.DataFrame) -> None:
    config = samples.config().inputs
    inputs = inputs_from_frame(frame, config)
    for index, name in enumerate(config.columns):
        values = frame[name].to_list() if index in config.present else [None] * len(frame)
        assert inputs.features_mask[:, index].tolist() == [value is not None for value in values]
        assert inputs.features[:, index].tolist() == [value or 0.0 for value in values]
    assert inputs.cluster_probs.tolist() == frame["cluster_probs"].to_list()
    for row in (0, 1, 8):
        steps, valid = frame["txn_seq"][row], frame["txn_seq_mask"][row]
        assert inputs.present["txn_seq"][row].item() == (steps is not None)
        if steps is not None:
            expected = np.where(valid.to_numpy()[:, None], steps.to_numpy().reshape(samples.STEPS, samples.WIDTH), 0)
            assert np.array_equal(inputs.sides["txn_seq"][row].numpy(), expected)
            assert inputs.masks["txn_seq"][row].tolist() == valid.to_list()


def test_order_of_columns_extra_columns_and_the_library_do_not_matter(frame: pl.DataFrame) -> None:
    config = samples.config()
    wanted = TensorTable.of(
        inputs_from_frame(frame, config.inputs), targets_from_frame(samples.labels(frame), config.tasks)
    )
    shuffled = frame.select(reversed(frame.columns)).with_columns(other=pl.lit("x"))
    from_pandas = pl.from_pandas(frame.to_pandas())
    for other in (shuffled, from_pandas):
        assert TensorTable.of(inputs_from_frame(other, config.inputs), wanted.targets).digest() == wanted.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("column_05", "txn_seq"), "lacks 2 columns: column_05, txn_seq"),
        (lambda f: f.with_columns(column_05=pl.lit("a")), "column_05 is String"),
        (lambda f: f.with_columns(column_05=pl.lit(float("inf"))), "column_05 is infinite in rows"),
        (lambda f: f.with_columns(cluster_probs=pl.lit([0.5, 0.1, 0.1])), "sum to .*, not to 1"),
        (lambda f: f.with_columns(cluster_probs=pl.lit([0.5, 0.5])), "have .* values, not 3"),
        (lambda f: f.with_columns(cluster_probs=pl.lit(0.5)), "cluster_probs is Float64"),
        (lambda f: f.with_columns(txn_seq=pl.lit([0.0] * 9)), "column txn_seq: rows .* not 112"),
        (lambda f: f.with_columns(txn_seq=pl.lit([float("nan")] * 112)), "txn_seq holds values that are not finite"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused_by_name(frame: pl.DataFrame, change: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inputs_from_frame(change(frame), samples.config().inputs)  # type: ignore[operator]


def test_targets_are_the_labels_and_null_is_masked(frame: pl.DataFrame) -> None:
    tasks, labels = samples.config().tasks, samples.labels(frame)
    targets = targets_from_frame(labels, tasks)
    for task in tasks:
        for row, label in enumerate(labels[task.name].to_list()):
            assert targets.mask[task.name][row].item() == (label is not None)
            found = targets.values[task.name][row].tolist()
            if label is None:
                continue
            if task.kind == "contrastive":
                assert found[: len(label)] == label
                assert set(found[len(label) :]) <= {-1}
            else:
                assert found == pytest.approx(label)
    assert targets.values["life_stage"].dtype == torch.int64
    assert targets.values["churn"].dtype == torch.float32


@pytest.mark.parametrize(
    ("task", "value", "message"),
    [
        ("life_stage", 6, "life_stage: \\[6"),
        ("churn", 2, "0 and 1"),
        ("ltv", float("nan"), "finite numbers"),
    ],
)
def test_labels_out_of_range_are_refused(frame: pl.DataFrame, task: str, value: float, message: str) -> None:
    labels = samples.labels(frame).with_columns(pl.lit(value).alias(task))
    with pytest.raises(ValueError, match=message):
        targets_from_frame(labels, samples.config().tasks)


def test_a_task_without_a_column_is_refused(frame: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="no column for ltv"):
        targets_from_frame(samples.labels(frame).drop("ltv"), samples.config().tasks)


def test_empty_and_missing_brand_lists_are_masked() -> None:
    task = samples.config().task("brand_prediction")
    column = pl.Series("brand_prediction", [[3, 1, 2], [], None, [4]], dtype=pl.List(pl.Int32))
    targets = targets_from_frame(column.to_frame(), [task])
    assert targets.values[task.name].tolist() == [[3, 1, 2], [-1] * 3, [-1] * 3, [4, -1, -1]]
    assert targets.mask[task.name].tolist() == [True, False, False, True]
    nothing = targets_from_frame(column.filter([False, True, True, False]).to_frame(), [task])
    assert nothing.values[task.name].tolist() == [[-1], [-1]]


def test_steps_rest_in_half_precision_and_leave_in_single() -> None:
    table = samples.table(20)
    assert table.inputs.sides["txn_seq"].dtype == torch.float16
    inputs, targets = table.batch(torch.tensor([3, 4]), CPU)
    assert inputs.read(samples.SIDES[0])[0].dtype == torch.float32
    assert len(inputs) == len(targets.values["churn"]) == 2
    huge = TensorTable.of(inputs.map(lambda t: t.float() * 1e6 if t.is_floating_point() else t), targets)
    assert huge.inputs.sides["txn_seq"].dtype == torch.float32


def test_parts_put_together_are_the_whole() -> None:
    table = samples.table(60)
    rows = torch.arange(60)
    parts = [table.select(part) for part in rows.split(17)]
    # Parts may have brand lists of different lengths.
    brands = parts[0].targets.values["brand_prediction"]
    parts[0].targets.values["brand_prediction"] = brands[:, :1]
    whole = TensorTable.concat(parts)
    expected = table.targets.values["brand_prediction"].clone()
    expected[:17, 1:] = -1
    table.targets.values["brand_prediction"] = expected
    assert whole.digest() == table.digest()
    assert table.select(rows >= 30).digest() == table.select(rows[30:]).digest()


def test_the_digest_sees_one_changed_label_and_one_changed_mask() -> None:
    tables = [samples.table(20) for _ in range(3)]
    tables[1].targets.values["ltv"][3] += 1
    tables[2].inputs.features_mask[0, 0] ^= True
    assert len({table.digest() for table in tables}) == 3


@given(rows=st.integers(1, 300), batch=st.integers(1, 100), seed=st.integers(0, 5))
def test_an_epoch_has_every_row_once_in_batches_of_nearly_one_size(rows: int, batch: int, seed: int) -> None:
    batches = list(permuted_batches(rows, batch, seed, 1, 1))
    assert sorted(torch.cat(batches).tolist()) == list(range(rows))
    sizes = {len(part) for part in batches}
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == steps_in(rows, batch)


def test_the_permutation_follows_from_seed_phase_and_epoch_alone() -> None:
    def order(seed: int, phase: int, epoch: int) -> tuple[int, ...]:
        return tuple(torch.cat(list(permuted_batches(100, 16, seed, phase, epoch))).tolist())

    first = order(0, 1, 1)
    torch.rand(7)
    assert order(0, 1, 1) == first
    assert len({first, order(1, 1, 1), order(0, 2, 1), order(0, 1, 2)}) == 4


def test_targets_of_another_length_are_refused() -> None:
    table = samples.table(10)
    with pytest.raises(ValueError, match="have 9 rows, the inputs 10"):
        TensorTable.of(table.inputs, table.targets.index(torch.arange(9)))
