from collections.abc import Callable

import pytest
import torch

from ple_model.inputs import Inputs, Targets


def test_index_takes_rows_of_every_field(make_inputs: Callable[..., Inputs]) -> None:
    inputs, rows = make_inputs(10), torch.tensor([7, 2, 2])
    picked = inputs.index(rows)
    assert len(picked) == 3
    assert torch.equal(picked.features, inputs.features[rows])
    assert picked.txn_seq is not None
    assert inputs.txn_seq is not None
    assert torch.equal(picked.txn_seq, inputs.txn_seq[rows])
    assert torch.equal(picked.present["txn_seq"], inputs.present["txn_seq"][rows])


def test_presence_comes_from_the_mask_not_from_values(make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(4)
    assert inputs.txn_seq is not None
    mask = torch.zeros(4, 30, dtype=torch.bool)
    mask[1, 3] = True
    zeros = Inputs(inputs.features, inputs.features_mask, inputs.cluster_probs, inputs.txn_seq * 0, mask)
    assert zeros.present["txn_seq"].tolist() == [False, True, False, False]
    none = Inputs(inputs.features, inputs.features_mask, inputs.cluster_probs)
    assert not none.present["txn_seq"].any()
    assert none.index(torch.tensor([0])).txn_seq is None


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="differ in shape"):
        Inputs(x, torch.ones(2, 4, dtype=torch.bool), x)
    with pytest.raises(ValueError, match="come together"):
        Inputs(x, x.bool(), x, txn_seq=torch.zeros(2, 3, 1))


def test_targets_index_and_to() -> None:
    targets = Targets({"a": torch.arange(4)}, {"a": torch.tensor([True, False, True, False])})
    picked = targets.index(torch.tensor([3, 0])).to("cpu")
    assert picked.values["a"].tolist() == [3, 0]
    assert picked.mask["a"].tolist() == [False, True]
