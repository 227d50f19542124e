"""How gradients are measured in a run: when, on what, in which space, and that it counts."""

import pytest
import torch

from ple_model.config import AdaTTConfig, BasketConfig, WeightingConfig
from ple_model.losses.gram import cosines, gradient_gram
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.training.affinity import AffinityMeter
from ple_model.training.distributed import World
from ple_model.training.trainer import FitResult, fit
from tests.ple_model import samples


def _run(**sections: object) -> FitResult:
    settings = samples.config(**sections)
    train, valid = samples.table(256, 0, settings), samples.table(100, 1, settings)
    from ple_model.training.initial import build

    model = build(settings, train, seed=0)
    return fit(model, train, valid, samples.training(phase2_epochs=0, phase1_epochs=4), None, progress=False)


@pytest.mark.parametrize("kind", ["group", "cluster"])
def test_representation_gram_equals_autograd_at_h_shared(kind: str) -> None:
    settings = samples.config(basket=BasketConfig(kind=kind))
    table = samples.table(64, 0, settings)
    from ple_model.training.initial import build

    model, loss = build(settings, table, seed=0), MultiTaskLoss(settings)
    torch.nn.init.normal_(model.gate.linear.weight, std=0.1)
    inputs, targets = table.batch(torch.arange(64), torch.device("cpu"))
    model.eval()
    outputs = model(inputs)
    losses, _, _ = loss.plain(outputs, targets, model)
    found = AffinityMeter(model, loss, World()).representation(losses, outputs)
    want = torch.zeros_like(found)
    widths = torch.tensor([expert.width for expert in model.experts.values()])
    there = (outputs.gates > 0).any(1).repeat_interleave(widths, dim=1)
    if kind == "cluster":  # only the closed form knows that an absent expert's block is a constant
        there = torch.ones_like(there)
    grads = [(torch.autograd.grad(one, outputs.shared, retain_graph=True)[0] * there).flatten() for one in losses]
    for i, a in enumerate(grads):
        for j, b in enumerate(grads):
            want[i, j] = a @ b
    torch.testing.assert_close(cosines(found)[0], cosines(want)[0], atol=1e-5, rtol=1e-4)


def test_adatt_is_reported_by_epoch_through_its_phases() -> None:
    result = _run(adatt=AdaTTConfig(warmup_epochs=1, freeze_epoch=3, every=1))
    reports = [report.adatt for report in result.history]
    assert [report["phase"] for report in reports if report] == ["warm-up", "dynamic", "dynamic", "frozen"]
    shares = [report["prior_share"] for report in reports if report]
    assert shares[1] == 0.5
    assert shares[3] == pytest.approx(0.1)
    first, last = reports[0], reports[-1]
    assert first is not None
    assert last is not None
    assert first["correlation"] is not None
    assert last["affinity"] == reports[2]["affinity"]  # nothing is measured any more
    assert any(v for row in first["affinity"] for v in row)


@pytest.mark.parametrize(
    "change", [{"every": 3}, {"sub_batch": 9, "affinity": "parameters"}, {"affinity": "parameters"}, {"enabled": False}]
)
def test_how_it_is_measured_changes_what_is_learnt(change: dict[str, object]) -> None:
    base = {"warmup_epochs": 0, "freeze_epoch": 9, "every": 1, "strength": 1.0}
    if change == {"sub_batch": 9, "affinity": "parameters"}:
        before = _run(adatt=AdaTTConfig(**{**base, "affinity": "parameters"}))
    else:
        before = _run(adatt=AdaTTConfig(**base))
    after = _run(adatt=AdaTTConfig(**{**base, **change}))
    assert before.history[-1].train_loss != after.history[-1].train_loss


@pytest.mark.parametrize("weighting", [{"strategy": "gradnorm"}, {"strategy": "dwa"}, {"conflict": "upgrad"}])
def test_measured_weights_move_in_a_run(weighting: dict[str, str]) -> None:
    result = _run(weighting=WeightingConfig(**weighting), adatt=AdaTTConfig(every=1))
    weights = [list(report.weights.values()) for report in result.history]
    assert weights[0] != weights[-1]
    assert all(weight >= 0 for row in weights for weight in row)


def test_parameter_gram_reads_the_shared_experts_only() -> None:
    settings = samples.config()
    table = samples.table(40, 0, settings)
    from ple_model.training.initial import build

    model, loss = build(settings, table, seed=0), MultiTaskLoss(settings)
    inputs, targets = table.batch(torch.arange(40), torch.device("cpu"))
    torch.manual_seed(0)
    found = AffinityMeter(model, loss, World()).parameters(inputs, targets)
    torch.manual_seed(0)
    losses, _, _ = loss.plain(model(inputs), targets, model)
    torch.testing.assert_close(found, gradient_gram(losses, list(model.experts.parameters())), atol=1e-6, rtol=1e-4)
