"""The repeat term against loops over its definition, what it does to scores and losses, and when it is not built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ple_model.baselines import build_baseline
from ple_model.config import ModelConfig, RepeatConfig, SideConfig
from ple_model.config.baselines import BaselineConfig, SharedBottomConfig
from ple_model.inputs import Inputs, Targets
from ple_model.layers.contrastive import CandidateTable
from ple_model.layers.members import by_member
from ple_model.layers.repeat import RepeatTerm
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.model import PLEClusterAdaTT

PLACES, CANDIDATES = 6, 5
HISTORY = (3, -1, 0, 4)  # the vocabulary has four brands; candidates 1 and 2 are not among them
SHARES = [0.5, 0.2, 0.1, 0.15, 0.05]
SIDE = SideConfig(name="brand_history", shape=(PLACES, 4), masked=True, channels=(0, 1, 3))


def _rows(brands: list[list[int]], seed: int = 0) -> Inputs:
    """Customers with these numbers of the vocabulary; what is not valid is not a number."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(len(brands), PLACES, 4, generator=generator)
    mask = torch.zeros(len(brands), PLACES, dtype=torch.bool)
    for row, own in enumerate(brands):
        values[row, : len(own), 0] = torch.tensor(own, dtype=torch.float32)
        mask[row, : len(own)] = True
    values[~mask] = torch.nan
    rows = len(brands)
    return Inputs(
        torch.zeros(rows, 1),
        torch.ones(rows, 1, dtype=torch.bool),
        torch.ones(rows, 1),
        {SIDE.name: values},
        {SIDE.name: mask},
    )


def _term(hidden: tuple[int, ...] = (8,)) -> RepeatTerm:
    term = RepeatTerm(RepeatConfig(hidden=hidden), SIDE, HISTORY, CANDIDATES)
    term.set_popularity(torch.tensor(SHARES))
    return term


def test_it_is_bias_and_network_of_each_own_brand() -> None:
    brands = [[2, 0, 1], [], [3], [1], [0, 1, 2, 3]]
    inputs, term = _rows(brands), _term()
    with torch.no_grad():
        term.bias += torch.randn(CANDIDATES)
    odds = torch.tensor(SHARES).logit()
    popular, want = (odds - odds.mean()) / odds.std(), term.bias.detach().repeat(len(brands), 1)
    for row, own in enumerate(brands):
        for place, number in enumerate(own):
            if HISTORY[number] >= 0:
                values = inputs.sides[SIDE.name][row, place]
                x = torch.stack([values[1], values[3], popular[HISTORY[number]]])
                first, _, last = term.network
                hidden = F.silu(x @ first.weight.T + first.bias)
                want[row, HISTORY[number]] += (hidden @ last.weight.T + last.bias).item()
    torch.testing.assert_close(term(inputs), want)


def test_without_a_past_it_is_the_popularity() -> None:
    term = _term()
    scores = term(_rows([[], [1]]))
    torch.testing.assert_close(scores, torch.tensor([SHARES] * 2).logit())
    inputs = _rows([[0, 2]])
    absent = replace(inputs, present={SIDE.name: torch.tensor([False])})
    assert torch.equal(term(absent), scores[:1])
    assert torch.equal(term(inputs.without(SIDE.name)), scores[:1])


def test_the_order_of_the_vocabulary_and_of_places_does_not_matter() -> None:
    term, inputs = _term(), _rows([[2, 0, 3], [0, 1]])
    order = torch.tensor([2, 3, 1, 0])  # old number → new number
    other = RepeatTerm(RepeatConfig(hidden=(8,)), SIDE, [HISTORY[i] for i in order.argsort().tolist()], CANDIDATES)
    other.load_state_dict(term.state_dict())
    values = inputs.sides[SIDE.name].clone()
    values[..., 0] = torch.where(inputs.masks[SIDE.name], order[values[..., 0].nan_to_num().long()].float(), torch.nan)
    renamed = replace(inputs, sides={SIDE.name: values.flip(1)}, masks={SIDE.name: inputs.masks[SIDE.name].flip(1)})
    assert torch.equal(other(renamed), term(inputs))


def test_it_ignores_autocast_and_reads_half_precision() -> None:
    term, inputs = _term(), _rows([[2, 0, 3], [0, 1]])
    half = replace(inputs, sides={SIDE.name: inputs.sides[SIDE.name].half()})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(term(inputs), _without_autocast(term, inputs))
    torch.testing.assert_close(term(half), term(inputs), atol=1e-3, rtol=1e-3)


def _without_autocast(term: RepeatTerm, inputs: Inputs) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return term(inputs)


def test_what_cannot_be_a_history_is_refused() -> None:
    for side in (
        SideConfig(name="brand_history", shape=(6, 4)),
        SideConfig(name="brand_history", shape=(6, 4), masked=True, channels=(1, 2)),
        SideConfig(name="brand_history", shape=(6, 1), masked=True),
    ):
        with pytest.raises(ValueError, match="is no history"):
            RepeatTerm(RepeatConfig(), side, HISTORY, CANDIDATES)
    with pytest.raises(ValueError, match="at most 2048"):
        RepeatTerm(RepeatConfig(), SIDE, range(2049), 3000)


def test_scores_and_losses_of_a_table_have_it_added() -> None:
    table, query, beside = CandidateTable(30, 4, temperature=0.3), torch.randn(5, 4), torch.randn(5, 30)
    labels = torch.randint(0, 30, (5, 1))
    table.set_frequency(torch.arange(30) ** 2)
    torch.testing.assert_close(table.scores(query, beside), table.scores(query) + beside)
    want = F.cross_entropy(table.scores(query) + beside, labels[:, 0], reduction="none")
    torch.testing.assert_close(table.loss(query, labels, 0, beside), want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(table.loss(query, labels, 200_000, beside), want, atol=0.03, rtol=0.03)


def test_what_was_bought_lately_comes_to_rank_before_what_never_was() -> None:
    """Customers buy again what they bought in the last days (channel 1 near 1), whatever brand it is."""
    torch.manual_seed(0)
    lately = torch.rand(400, 3)
    brands = [torch.tensor([0, 2, 3])[torch.randperm(3)].tolist() for _ in range(400)]
    inputs, term = _rows(brands), _term()
    inputs.sides[SIDE.name][:, :3, 1] = lately
    bought = torch.tensor([[HISTORY[own[int(place)]]] for own, place in zip(brands, lately.argmax(1), strict=True)])
    table = CandidateTable(CANDIDATES, 2, temperature=1.0, repeat=term)
    optimizer, nothing = torch.optim.Adam(term.parameters(), 0.03), torch.zeros(400, 2)
    for _ in range(150):
        optimizer.zero_grad()
        table.loss(nothing, bought, 0, term(inputs)).mean().backward()
        optimizer.step()
    yesterday = _rows([[3]])
    yesterday.sides[SIDE.name][0, 0, 1] = 1.0
    scores = table.scores(nothing[:1], term(yesterday))[0]
    assert scores.argmax() == HISTORY[3]  # the least popular candidate of all


Make = Callable[..., Inputs]


def test_in_the_network_it_is_counted_trained_and_switched_off(
    model_config: ModelConfig, make_inputs: Make, make_targets: Callable[..., Targets]
) -> None:
    off = model_config.model_copy(update={"repeat": RepeatConfig(enabled=False)})
    models = []
    for config in (model_config, off):
        torch.manual_seed(0)
        models.append(PLEClusterAdaTT(config))
    network, bare = models
    inputs, targets = make_inputs(), make_targets(model_config.tasks)
    assert set(network(inputs).beside) == {"brand_prediction"}
    assert bare(inputs).beside == {}
    predictions, others = network.predict(inputs), bare.predict(inputs)
    assert not torch.equal(predictions["brand_prediction"], others["brand_prediction"])
    assert all(torch.equal(predictions[name], others[name]) for name in predictions if name != "brand_prediction")
    assert torch.equal(network.predict(inputs.without("brand_history"))["churn"], predictions["churn"])

    count = [sum(p.numel() for p in model.parameters()) for model in models]
    term = network.table("brand_prediction").repeat
    assert term is not None
    assert count[0] - count[1] == sum(p.numel() for p in term.parameters()) == 20 + 5 * 32 + 33 * 16 + 17
    MultiTaskLoss(model_config)(network(inputs), targets, network).total.backward()
    for parameter in term.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.abs().sum() > 0)


def test_members_share_it(model_config: ModelConfig, make_inputs: Make, make_targets: Callable[..., Targets]) -> None:
    model_config = model_config.model_copy(update={"members": 3})
    network, inputs, targets = PLEClusterAdaTT(model_config).eval(), make_inputs(), make_targets(model_config.tasks)
    outputs, table, name = network(inputs), network.table("brand_prediction"), "brand_prediction"
    beside = outputs.beside[name]
    queries = by_member(outputs.predictions[name], 3)
    mean = torch.stack([table.scores(query, beside) for query in queries]).mean(0)
    got = network.predict(inputs)[name]
    length = F.normalize(queries, dim=-1).mean(0).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(got * length, mean, atol=1e-4, rtol=1e-4)

    losses, mask = MultiTaskLoss(model_config).rows(outputs, targets, network)
    at, labelled = network.task_names.index(name), targets.mask[name]
    labels = targets.values[name].where(labelled.unsqueeze(-1), -1)
    each = torch.stack([table.loss(query, labels, 0, beside) for query in queries])
    torch.testing.assert_close(losses[at][mask[at]], each.mean(0)[mask[at]], atol=1e-5, rtol=1e-5)


def test_a_baseline_has_the_same_term_and_reads_the_history_nowhere_else(
    model_config: ModelConfig, make_inputs: Make
) -> None:
    architecture = SharedBottomConfig(hidden=(8,))
    config = BaselineConfig(architecture=architecture, inputs=model_config.inputs, tasks=model_config.tasks)
    inputs = make_inputs()
    baseline = build_baseline(config)
    assert {side.side.name for side in baseline.experts.encoder.sides} == set(inputs.sides) - {"brand_history"}
    outputs, bare = baseline(inputs), baseline(inputs.without("brand_history"))
    assert torch.equal(outputs.shared, bare.shared)
    assert not torch.equal(outputs.beside["brand_prediction"], bare.beside["brand_prediction"])


def test_it_is_not_built_without_a_history_of_the_candidates(model_config: ModelConfig) -> None:
    tasks = tuple(task.model_copy(update={"history": ()}) if task.history else task for task in model_config.tasks)
    sides = tuple(side for side in model_config.inputs.sides if side.name != "brand_history")
    inputs = model_config.inputs.model_copy(update={"sides": sides})
    for change in ({"tasks": tasks}, {"inputs": inputs}):
        assert PLEClusterAdaTT(model_config.model_copy(update=change)).table("brand_prediction").repeat is None
