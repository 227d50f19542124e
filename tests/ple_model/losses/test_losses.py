import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ple_model.config import AdaTTConfig, EvidentialConfig, ModelConfig
from ple_model.inputs import Inputs, Targets
from ple_model.layers.contrastive import CandidateTable, WholeTable, info_nce
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.model import Outputs, PLEClusterAdaTT
from ple_model.tasks.row_losses import focal


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.6)])
def test_focal_equals_its_probability_form(gamma: float, alpha: float) -> None:
    z = torch.linspace(-12, 12, 97, dtype=torch.float64)
    for label in (0.0, 1.0):
        p = z.sigmoid() if label else 1 - z.sigmoid()
        a = alpha if label else 1 - alpha
        want = -a * (1 - p) ** gamma * p.log()
        got = focal(z.float(), torch.full((97,), label), gamma, alpha)
        torch.testing.assert_close(got, want.float(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_focal_is_stable_at_80(dtype: torch.dtype) -> None:
    z = torch.tensor([-80.0, 80.0, -80.0, 80.0, 0.0], dtype=dtype, requires_grad=True)
    loss = focal(z, torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]), 2.0, 0.25)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss[:4], torch.tensor([0.0, 0.0, 0.25 * 80, 0.75 * 80]))
    loss.sum().backward()
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())
    assert z.grad[2] < 0 < z.grad[3]


def test_focal_with_gamma_0_is_half_the_cross_entropy() -> None:
    z, y = torch.randn(20), torch.randint(0, 2, (20,)).float()
    torch.testing.assert_close(focal(z, y, 0.0, 0.5), 0.5 * F.binary_cross_entropy_with_logits(z, y, reduction="none"))


def test_info_nce_equals_a_calculation_by_hand() -> None:
    table = CandidateTable(3, 2, temperature=0.5)
    table.weight.data = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    query = torch.tensor([[5.0, 0.0], [0.0, 0.1], [1.0, 1.0]])
    loss = table.loss(query, torch.tensor([[0, -1], [0, 1], [-1, -1]]), negatives=0)
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(0) + math.exp(-2)))  # cosines 1, 0, −1 over τ = .5
    # Cosines 0, 1, 0 with two positives: each against the one negative.
    second = -(math.log(1 / (1 + 1)) + math.log(math.exp(2) / (math.exp(2) + 1))) / 2
    torch.testing.assert_close(loss, torch.tensor([first, second, 0.0]))


@pytest.mark.parametrize("history", [True, False])
def test_info_nce_of_members_over_the_whole_table_has_the_gradient_of_its_formula(history: bool) -> None:
    torch.manual_seed(0)
    own = {"dtype": torch.float64, "requires_grad": True}
    query, table, beside = torch.randn(3, 4, 5, **own), torch.randn(6, 5, **own), torch.randn(4, 6, **own)
    labels = torch.tensor([[0, 2, -1], [5, -1, -1], [-1, -1, -1], [1, 3, 4]])

    def whole(*given: Tensor) -> Tensor:
        return WholeTable.apply(given[0], given[1], given[2] if history else None, labels)

    assert torch.autograd.gradcheck(whole, (query, table, beside) if history else (query, table))
    scores = query @ table.T + (beside if history else 0.0)
    hit = torch.zeros(4, 7, dtype=torch.bool).scatter(1, labels.where(labels >= 0, 6), True)[:, :6]
    each = [info_nce(of.gather(1, labels.clamp(min=0)), labels >= 0, of.masked_fill(hit, -torch.inf)) for of in scores]
    torch.testing.assert_close(whole(query, table, beside), torch.stack(each))


def test_info_nce_of_no_row_is_none() -> None:
    table = CandidateTable(6, 5, 0.1)
    assert table.loss(torch.empty(0, 5), torch.empty(0, 2, dtype=torch.int64), 0, torch.empty(0, 6)).shape == (0,)


def test_info_nce_with_one_positive_is_cross_entropy_over_the_table() -> None:
    table, query = CandidateTable(9, 4, temperature=0.07), torch.randn(6, 4)
    labels = torch.randint(0, 9, (6, 1))
    want = F.cross_entropy(table.scores(query), labels[:, 0], reduction="none")
    torch.testing.assert_close(table.loss(query, labels, negatives=0), want, atol=1e-5, rtol=1e-5)


def test_scores_ignore_autocast() -> None:
    table, query = CandidateTable(9, 128, temperature=0.07), torch.randn(6, 128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = table.scores(query)
    assert torch.equal(half, table.scores(query))


def test_sampled_negatives_estimate_the_full_table() -> None:
    table, query = CandidateTable(30, 4, temperature=0.3), torch.randn(5, 4)
    labels = torch.stack([torch.randperm(30)[:3] for _ in range(5)])
    labels[0, 1:] = -1
    table.set_frequency(torch.arange(30) ** 2)
    full = table.loss(query, labels, negatives=0)
    sampled = table.loss(query, labels, negatives=200_000)
    torch.testing.assert_close(sampled, full, atol=0.02, rtol=0.02)
    few = table.loss(query, labels, negatives=1)
    few.sum().backward()
    assert bool(few.isfinite().all())
    assert table.weight.grad is not None
    assert bool(table.weight.grad.isfinite().all())


def test_frequency_is_checked() -> None:
    table = CandidateTable(3, 2, temperature=0.5)
    table.set_frequency(torch.tensor([0, 1, 4]))
    torch.testing.assert_close(table.frequency, torch.tensor([1.0, 2.0, 5.0]) / 8)
    with pytest.raises(ValueError, match="3 numbers"):
        table.set_frequency(torch.tensor([1, 2]))


@pytest.fixture
def parts(
    model_config: ModelConfig, make_inputs: Callable[..., Inputs], make_targets: Callable[..., Targets]
) -> tuple[PLEClusterAdaTT, MultiTaskLoss, Outputs, Targets]:
    """A model with leaf outputs, so that gradients of single rows can be looked at. Without the heads
    beside and adaTT."""
    model_config = model_config.model_copy(
        update={"evidential": EvidentialConfig(enabled=False), "adatt": AdaTTConfig(enabled=False)}
    )
    model = PLEClusterAdaTT(model_config)
    outputs = model(make_inputs())
    leaves = {name: p.detach().clone().requires_grad_() for name, p in outputs.predictions.items()}
    fixed = Outputs(leaves, outputs.gates.detach(), outputs.shared.detach())
    return model, MultiTaskLoss(model_config), fixed, make_targets(model_config.tasks)


Parts = tuple[PLEClusterAdaTT, MultiTaskLoss, Outputs, Targets]


def test_every_task_equals_the_mean_of_its_labelled_rows(parts: Parts) -> None:
    model, loss, outputs, targets = parts
    for name, (mean, std) in {"ltv": (3.0, 2.0), "engagement": (-1.0, 0.5)}.items():
        model.set_target_scale(name, mean, std)
    result = loss(outputs, targets, model)
    rows = {name: targets.mask[name].nonzero()[:, 0] for name in targets.mask}
    raw = {name: outputs.predictions[name][rows[name]] for name in rows}
    y = {name: targets.values[name][rows[name]] for name in rows}
    want = {
        "ltv": F.huber_loss(raw["ltv"][:, 0], (y["ltv"] - 3.0) / 2.0, delta=1.0),
        "engagement": F.mse_loss(raw["engagement"][:, 0], (y["engagement"] + 1.0) / 0.5),
        "timing": F.cross_entropy(raw["timing"], y["timing"]),
        "churn": focal(raw["churn"][:, 0], y["churn"], 2.0, 0.60).mean(),
        "brand_prediction": model.table("brand_prediction")
        .loss(raw["brand_prediction"], y["brand_prediction"], negatives=0)
        .mean(),
    }
    for name, value in want.items():
        torch.testing.assert_close(result.per_task[name], value.detach(), atol=1e-6, rtol=1e-5)
        assert int(result.counts[name]) == len(rows[name])
    assert set(result.per_task) == set(model.task_names)


@pytest.mark.parametrize("poison", ["extreme", "not a number"])
def test_masked_labels_have_no_gradient_and_are_never_read(parts: Parts, poison: str) -> None:
    model, loss, outputs, targets = parts
    clean = loss(outputs, targets, model).total
    bad = math.nan if poison == "not a number" else 1e30
    values = {}
    for name, value in targets.values.items():
        mask = targets.mask[name].view(-1, *[1] * (value.dim() - 1))
        values[name] = torch.where(mask, value, bad if value.is_floating_point() else 10_000)
    result = loss(outputs, Targets(values, targets.mask), model)
    assert torch.equal(result.total, clean)
    result.total.backward()
    for name, leaf in outputs.predictions.items():
        assert leaf.grad is not None
        assert bool(leaf.grad.isfinite().all()), name
        moved = leaf.grad.abs().sum(1) > 0
        assert not bool((moved & ~targets.mask[name]).any()), name
        assert bool(moved.any()), name


def test_a_task_without_labels_contributes_nothing(parts: Parts) -> None:
    model, loss, outputs, targets = parts
    before = loss(outputs, targets, model)
    targets.mask["churn"] = torch.zeros_like(targets.mask["churn"])
    del targets.values["nba"], targets.mask["nba"]
    targets.values["brand_prediction"] = torch.full_like(targets.values["brand_prediction"], -1)
    result = loss(outputs, targets, model)
    result.total.backward()
    for name in ("churn", "nba", "brand_prediction"):
        assert (float(result.per_task[name]), int(result.counts[name])) == (0.0, 0)
        grad = outputs.predictions[name].grad
        assert grad is None or not bool(grad.any())
    assert torch.equal(result.per_task["ltv"], before.per_task["ltv"])
    learnt = loss.weighting.log_variance
    assert isinstance(learnt, torch.Tensor)
    assert learnt.grad is not None
    names = list(model.task_names)
    assert [float(learnt.grad[names.index(n)]) for n in ("churn", "nba", "brand_prediction")] == [0.0, 0.0, 0.0]


def test_no_label_at_all_gives_zero_and_can_be_differentiated(parts: Parts) -> None:
    model, loss, outputs, targets = parts
    model.eval()
    result = loss(outputs, Targets(targets.values, {n: m & False for n, m in targets.mask.items()}), model)
    result.total.backward()
    assert result.total.item() == 0.0


def test_total_holds_the_regularisers_while_training_only(parts: Parts) -> None:
    model, loss, outputs, targets = parts
    training = loss(outputs, targets, model)
    model.eval()
    still = loss(outputs, targets, model)
    assert set(training.regularisation) == {"gate_entropy", "autoencoder"}
    assert still.regularisation == {}
    torch.testing.assert_close(training.total, still.total + sum(training.regularisation.values()))
