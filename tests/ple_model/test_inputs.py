from collections.abc import Callable

import pytest
import torch

from ple_model.config import InputConfig
from ple_model.inputs import Inputs, Targets


def test_index_takes_rows_of_every_tensor(make_inputs: Callable[..., Inputs]) -> None:
    inputs, rows = make_inputs(10), torch.tensor([7, 2, 2])
    picked = inputs.index(rows)
    assert len(picked) == 3
    assert picked.tensors().keys() == inputs.tensors().keys()
    for name, tensor in picked.tensors().items():
        assert torch.equal(tensor, inputs.tensors()[name][rows]), name


def test_presence_comes_from_the_mask_not_from_values(
    make_inputs: Callable[..., Inputs], input_config: InputConfig
) -> None:
    inputs, side = make_inputs(4), input_config.side("txn_seq")
    mask = torch.zeros(4, 30, dtype=torch.bool)
    mask[1, 3] = True
    bundle = (inputs.features, inputs.features_mask, inputs.cluster_probs)
    zeros = Inputs(*bundle, {"txn_seq": inputs.sides["txn_seq"] * 0}, {"txn_seq": mask})
    assert zeros.present_rows("txn_seq").tolist() == [False, True, False, False]
    none = Inputs(*bundle)
    assert not none.present_rows("txn_seq").any()
    values, valid = none.read(side)
    assert values.shape == (4, 30, 4)
    assert not values.any()
    assert valid.shape == (4, 30)
    assert not valid.any()


def test_what_is_not_valid_is_never_read(make_inputs: Callable[..., Inputs], input_config: InputConfig) -> None:
    inputs = make_inputs(5)
    sides = {name: values.clone() for name, values in inputs.sides.items()}
    masks = dict(inputs.masks)
    masks["txn_seq"] = inputs.masks["txn_seq"].clone()
    masks["txn_seq"][0] = False
    sides["txn_seq"][~masks["txn_seq"]] = torch.nan
    present = {"collaborative": torch.tensor([True, False, True, True, True])}
    sides["collaborative"][1] = torch.nan
    given = Inputs(inputs.features, inputs.features_mask, inputs.cluster_probs, sides, masks, present)
    steps, days = given.read(input_config.side("txn_seq"))
    assert torch.equal(days, masks["txn_seq"])
    assert torch.equal(steps, sides["txn_seq"].nan_to_num(0.0))
    vector, rows = given.read(input_config.side("collaborative"))
    assert torch.equal(rows, present["collaborative"])
    assert torch.equal(vector, sides["collaborative"].nan_to_num(0.0))


def test_bundle_without_some_inputs_and_back_from_its_tensors(make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(3)
    fewer = inputs.without("txn_seq", "hierarchy")
    assert set(inputs.sides) - set(fewer.sides) == {"txn_seq", "hierarchy"}
    assert "txn_seq" not in fewer.masks
    again = Inputs.of_tensors(inputs.tensors())
    assert again.sides.keys() == inputs.sides.keys()
    assert all(torch.equal(again.tensors()[k], v) for k, v in inputs.tensors().items())


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="differ in shape"):
        Inputs(x, torch.ones(2, 4, dtype=torch.bool), x)
    with pytest.raises(ValueError, match="masks of txn_seq without"):
        Inputs(x, x.bool(), x, masks={"txn_seq": torch.zeros(2, 3, dtype=torch.bool)})


def test_targets_index_and_to() -> None:
    targets = Targets({"a": torch.arange(4)}, {"a": torch.tensor([True, False, True, False])})
    picked = targets.index(torch.tensor([3, 0])).to("cpu")
    assert picked.values["a"].tolist() == [3, 0]
    assert picked.mask["a"].tolist() == [False, True]
