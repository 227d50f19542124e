from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ple_model.config import DEFAULT_SIDES, AuxiliaryConfig, InputConfig
from ple_model.inputs import Inputs
from ple_model.layers.auxiliary import AuxiliaryPath

WIDTHS = (6, 4, 5)
ROWS = 30
CODES = {"anonymous": 0, "coldstart": 1}


@pytest.fixture
def inputs(make_inputs: Callable[..., Inputs]) -> Inputs:
    """Segments in turn; a static column is missing in every fifth row, the segment in every seventh."""
    inputs = make_inputs(ROWS)
    row = torch.arange(ROWS)
    inputs.sides["segment"] = (row % 3).float().unsqueeze(1)
    lost = {"anonymous": 5, "coldstart": 5, "segment": 7}
    return replace(inputs, present={**inputs.present, **{name: row % n != 0 for name, n in lost.items()}})


def _path(config: InputConfig, **settings: object) -> AuxiliaryPath:
    path = AuxiliaryPath(AuxiliaryConfig.from_dict({"hidden": [8], **settings}), config, WIDTHS)
    torch.nn.init.normal_(path.gate)
    return path


def _blocks() -> tuple[list[torch.Tensor], torch.Tensor]:
    present = torch.rand(ROWS, len(WIDTHS)) < 0.5
    return [torch.randn(ROWS, width, requires_grad=True) for width in WIDTHS], present


def _new(inputs: Inputs, *names: str) -> torch.Tensor:
    """Rows that the path should fill in, one at a time."""
    segment, present = inputs.sides["segment"], inputs.present
    return torch.tensor(
        [
            any(bool(present["segment"][i] & present[n][i]) and int(segment[i, 0]) == CODES[n] for n in names)
            for i in range(ROWS)
        ]
    )


def test_fills_rows_as_the_formula_says(input_config: InputConfig, inputs: Inputs) -> None:
    path, (blocks, present) = _path(input_config), _blocks()
    filled, now = path(blocks, present, inputs)
    for row in torch.nonzero(_new(inputs, "anonymous", "coldstart")).flatten().tolist():
        name = ("anonymous", "coldstart")[int(inputs.sides["segment"][row, 0])]
        place = CODES[name]
        whole = path.project[place](inputs.sides[name][row : row + 1])[0].split(WIDTHS)
        for i, width in enumerate(WIDTHS):
            g = 1 / (1 + torch.exp(-path.gate[place, i]))
            auxiliary = torch.nn.functional.layer_norm(whole[i], (width,))
            own = blocks[i][row] if present[row, i] else torch.zeros(width)
            torch.testing.assert_close(filled[i][row], (1 - g) * own + g * auxiliary)
        assert now[row].all()


def test_other_rows_pass_bit_for_bit(input_config: InputConfig, inputs: Inputs) -> None:
    path, (blocks, present) = _path(input_config), _blocks()
    filled, now = path(blocks, present, inputs)
    same = ~_new(inputs, "anonymous", "coldstart")
    assert 10 < same.sum() < ROWS
    assert torch.equal(now[same], present[same])
    for block, part in zip(blocks, filled, strict=True):
        assert torch.equal(part[same], block[same])
        assert not torch.isclose(part[~same], block[~same]).all(1).any()
        (gradient,) = torch.autograd.grad(part[same].sum(), block, retain_graph=True)
        assert torch.equal(gradient, same.float().unsqueeze(1).expand_as(block))


def test_values_of_other_rows_are_never_read(input_config: InputConfig, inputs: Inputs) -> None:
    path, (blocks, present) = _path(input_config), _blocks()
    before = path(blocks, present, inputs)[0]
    for name in ("anonymous", "coldstart", "segment"):
        inputs.sides[name][~inputs.present[name]] = torch.nan
    after = path(blocks, present, inputs)[0]
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a, b)
    sum(part.sum() for part in after).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in path.parameters())
    assert path.gate.grad is not None
    assert (path.gate.grad != 0).all()


@pytest.mark.parametrize("name", ["anonymous", "coldstart"])
def test_one_of_the_two_segments_is_enough(name: str, input_config: InputConfig, inputs: Inputs) -> None:
    sides = tuple(side for side in input_config.sides if side.name not in {*CODES} - {name})
    path, (blocks, present) = _path(input_config.model_copy(update={"sides": sides})), _blocks()
    filled, now = path(blocks, present, inputs)
    changed = torch.stack([(f != b).any(1) for f, b in zip(filled, blocks, strict=True)]).any(0)
    assert torch.equal(changed, _new(inputs, name))
    assert torch.equal(now, present | _new(inputs, name).unsqueeze(1))


def test_a_bundle_without_segments_passes(input_config: InputConfig, inputs: Inputs) -> None:
    path, (blocks, present) = _path(input_config), _blocks()
    for lost in (("segment",), ("anonymous", "coldstart")):
        filled, now = path(blocks, present, inputs.without(*lost))
        assert torch.equal(now, present)
        assert all(torch.equal(f, b) for f, b in zip(filled, blocks, strict=True))


def test_reads_the_channels_that_the_data_set_has(input_config: InputConfig, inputs: Inputs) -> None:
    sides = tuple(
        side.model_copy(update={"channels": (0, 2)}) if side.name in CODES else side for side in input_config.sides
    )
    path, (blocks, present) = _path(input_config.model_copy(update={"sides": sides})), _blocks()
    before = path(blocks, present, inputs)[0]
    for name in CODES:
        inputs.sides[name][:, [1, 3]] = torch.nan
    assert all(torch.equal(a, b) for a, b in zip(before, path(blocks, present, inputs)[0], strict=True))


def test_parameters_of_the_seven_expert_model(input_config: InputConfig) -> None:
    config = input_config.model_copy(update={"sides": DEFAULT_SIDES})
    path = AuxiliaryPath(AuxiliaryConfig(), config, [128] + [64] * 6)
    assert 0.7 * 40_000 < sum(p.numel() for p in path.parameters()) < 1.3 * 40_000  # MODEL §15
