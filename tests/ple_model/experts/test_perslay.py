import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ple_model.config import InputConfig, PersLayConfig, SideConfig
from ple_model.experts.perslay import DIMENSIONS, PersLay
from ple_model.inputs import Inputs

CONFIG = PersLayConfig(width=10, points=4, hidden=(16,), weight_power=1.3)
#: Of the fixture's columns: the present ones of the three topology groups.
TDA_SHORT, PHASE = 5, 6


@pytest.fixture
def inputs(make_inputs: Callable[..., Inputs]) -> Inputs:
    """Rows 0–1 lack the short diagram, 1–2 the long one, so that row 1 has none; 3 lacks the statistics."""
    made = make_inputs(8)
    present = {name: rows.clone() for name, rows in made.present.items()}
    present["tda_short"][:2] = False
    present["tda_long"][1:3] = False
    present["tda_global"][3] = False
    return replace(made, present=present)


@pytest.fixture
def expert(input_config: InputConfig, inputs: Inputs) -> PersLay:
    made = PersLay(CONFIG, input_config).eval()
    made.fit(inputs)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def by_loops(expert: PersLay, inputs: Inputs) -> torch.Tensor:
    """Σ w(p)·φ_i(p) by the definition: over rows, blocks, points and reference points. [B, blocks, points]"""
    layer, rows = expert.blocks, []
    for row in range(len(inputs)):
        blocks: list[torch.Tensor] = []
        for side, dimensions in DIMENSIONS.items():
            for dimension in dimensions:
                block, sums = len(blocks), [torch.tensor(0.0)] * CONFIG.points
                for place in range(inputs.sides[side].shape[1]):
                    birth, death, of = inputs.sides[side][row, place].tolist()
                    if not (inputs.present[side][row] and inputs.masks[side][row, place] and of == dimension):
                        continue
                    weight = ((death - birth) / layer.level[block]) ** layer.log_power[block].exp()
                    for i in range(CONFIG.points):
                        exponent = torch.tensor(0.0)
                        for axis, at in enumerate((birth, death)):
                            at = (at - layer.centre[block, axis]) / layer.scale[block, axis]
                            variance = layer.log_spread[block, axis, i].exp() ** 2 + 0.05**2
                            exponent = exponent - (at - layer.reference[block, axis, i]) ** 2 / (2 * variance)
                        sums[i] = sums[i] + weight * exponent.exp()
                blocks.append(torch.stack(sums))
        rows.append(torch.stack(blocks))
    return torch.stack(rows)


def test_sums_and_their_gradients_equal_loops_over_the_definition(expert: PersLay, inputs: Inputs) -> None:
    got, want = expert.sums(inputs)[0], by_loops(expert, inputs)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    weights = torch.randn_like(got)
    parameters = [expert.blocks.reference, expert.blocks.log_spread, expert.blocks.log_power]
    gradients = [torch.autograd.grad((sums * weights).sum(), parameters) for sums in (got, want)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-3)


def test_invariant_to_permutation_and_padding(expert: PersLay, inputs: Inputs, input_config: InputConfig) -> None:
    before = expert(inputs).output
    sides, masks = dict(inputs.sides), dict(inputs.masks)
    for name in DIMENSIONS:
        order = torch.randperm(sides[name].shape[1])
        sides[name], masks[name] = sides[name][:, order], masks[name][:, order]
        sides[name] = torch.cat([sides[name], torch.full((8, 5, 3), torch.nan)], dim=1)
        masks[name] = torch.cat([masks[name], torch.zeros(8, 5, dtype=torch.bool)], dim=1)
        sides[name] = torch.where(masks[name].unsqueeze(2), sides[name], torch.nan)
    wider = {side.name: side.model_copy(update={"shape": (side.shape[0] + 5, 3)}) for side in expert.diagrams}
    assert {s.name for s in expert.diagrams} == set(DIMENSIONS)
    other = PersLay(CONFIG, input_config.model_copy(update={"sides": _with(input_config, wider)})).eval()
    other.load_state_dict(expert.state_dict())
    torch.testing.assert_close(other(replace(inputs, sides=sides, masks=masks)).output, before, atol=1e-5, rtol=1e-5)


def _with(config: InputConfig, changed: dict[str, SideConfig]) -> tuple[SideConfig, ...]:
    return tuple(changed.get(side.name, side) for side in config.sides)


def test_each_input_moves_the_rows_that_read_it(expert: PersLay, inputs: Inputs) -> None:
    before = expert(inputs).output

    def moved(changed: Inputs) -> list[int]:
        return (expert(changed).output != before).any(1).nonzero().flatten().tolist()

    full = inputs.features_mask.clone()
    full[:, [TDA_SHORT, PHASE]] = True
    inputs = replace(inputs, features_mask=full)
    before = expert(inputs).output
    for name, rows in {
        "tda_short": range(2, 8),
        "tda_long": (0, *range(3, 8)),
        "tda_global": (0, 2, *range(4, 8)),
    }.items():
        values = inputs.sides[name].clone()
        values[..., :2] += 0.5
        values[..., 1] += 0.5
        assert moved(replace(inputs, sides=inputs.sides | {name: values})) == list(rows), name
    for column, rows in {TDA_SHORT: [1], PHASE: list(range(8)), 0: []}.items():
        features = inputs.features.clone()
        features[:, column] += 1.0
        assert moved(replace(inputs, features=features)) == rows, column
    lost = full.clone()
    lost[:, PHASE] = False
    assert moved(replace(inputs, features_mask=lost)) == list(range(8))
    assert expert.present(inputs).all()
    lost[:, TDA_SHORT] = False
    assert expert.present(replace(inputs, features_mask=lost)).tolist() == [True, False, *[True] * 6]


@pytest.mark.parametrize("without", [(), ("tda_short",), ("tda_long", "tda_global"), ("tda_short", "tda_long")])
@pytest.mark.parametrize("columns", [True, False])
def test_finite_whatever_a_row_or_the_data_set_lacks(
    input_config: InputConfig, inputs: Inputs, without: tuple[str, ...], columns: bool
) -> None:
    mask = inputs.features_mask.clone()
    mask[::2, [TDA_SHORT, PHASE]] = False
    poisoned = replace(inputs, features=torch.where(mask, inputs.features, torch.nan), features_mask=mask)
    sides = tuple(side for side in input_config.sides if side.name not in without)
    present = input_config.present if columns else tuple(i for i in input_config.present if i not in (5, 6))
    config = input_config.model_copy(update={"sides": sides, "present": present})
    if not columns and {"tda_short", "tda_long"} <= set(without):
        assert not PersLay.available(config)
        return
    for settings in (config, input_config):  # the data set lacks it; all rows lack it
        expert = PersLay(CONFIG, settings)
        expert.fit(poisoned.without(*without))
        output = expert(poisoned.without(*without)).output
        assert output.shape == (8, 10)
        assert output.isfinite().all()
        output.square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in expert.parameters())


def test_a_point_on_the_diagonal_weighs_nothing(expert: PersLay, inputs: Inputs) -> None:
    sides = dict(inputs.sides)
    for name in DIMENSIONS:
        sides[name] = sides[name].clone()
        sides[name][..., 1] = sides[name][..., 0]
    sums = expert.sums(replace(inputs, sides=sides))[0]
    assert sums.abs().max() < 1e-4
    sums.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in expert.parameters())


def test_fit_makes_it_blind_to_the_unit_of_distance(input_config: InputConfig, inputs: Inputs) -> None:
    outputs = []
    for factor in (1.0, 1000.0):
        torch.manual_seed(0)
        expert = PersLay(CONFIG, input_config).eval()
        unit = torch.tensor([factor, factor, 1.0])
        scaled = inputs.sides | {name: inputs.sides[name] * unit for name in DIMENSIONS}
        scaled["tda_global"] = inputs.sides["tda_global"] * factor
        expert.fit(replace(inputs, sides=scaled))
        outputs.append(expert(replace(inputs, sides=scaled)).output)
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)


def test_float32_under_autocast_and_interpretation(expert: PersLay, inputs: Inputs) -> None:
    assert expert(inputs).interpretation == {}
    plain = expert(inputs, interpret=True).interpretation
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = expert(inputs, interpret=True).interpretation
    assert torch.equal(low["block_sums"], plain["block_sums"])
    assert plain["block_sums"].shape == (8, 5, 4)
    assert plain["block_pairs"][1].sum() == 0
    assert plain["block_pairs"].sum() == sum(inputs.read(side)[1].sum() for side in expert.diagrams)


def test_a_diagram_in_another_shape_is_refused(input_config: InputConfig) -> None:
    bare = {"tda_long": SideConfig(name="tda_long", shape=(8, 3))}
    with pytest.raises(ValueError, match="tda_long is no diagram"):
        PersLay(CONFIG, input_config.model_copy(update={"sides": _with(input_config, bare)}))


def test_budget_and_the_power_at_the_start() -> None:
    groups = {"base": 329, "tda_short": 24, "tda_long": 36, "phase_transition": 10, "gmm": 335}
    names = tuple(f"{group}__{i}" for group, count in groups.items() for i in range(count))
    expert = PersLay(PersLayConfig(), InputConfig(columns=names, present=tuple(range(734))))
    assert 0.7 * 50_000 < sum(p.numel() for p in expert.parameters()) < 1.3 * 50_000
    assert len(expert.columns) == 70
    assert expert.blocks.log_power.exp().tolist() == [PersLayConfig().weight_power] * 5
    assert math.isclose(expert.blocks.log_spread.exp()[0, 0, 0].item(), PersLayConfig().spread, rel_tol=1e-6)
