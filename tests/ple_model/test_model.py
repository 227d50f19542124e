from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from ple_model.config import InputConfig, ModelConfig
from ple_model.inputs import Inputs, Targets
from ple_model.losses import LossResult, MultiTaskLoss
from ple_model.model import PLEClusterAdaTT, parameter_counts, summary
from ple_model.tasks import DEFAULT_RELATIONS, select

Make = Callable[..., Any]


def _build(config: ModelConfig) -> tuple[PLEClusterAdaTT, MultiTaskLoss]:
    torch.manual_seed(0)
    return PLEClusterAdaTT(config), MultiTaskLoss(config)


def _step(config: ModelConfig, inputs: Inputs, targets: Targets) -> tuple[LossResult, dict[str, torch.Tensor]]:
    """Loss and gradients of one training step from a fixed start."""
    model, loss = _build(config)
    model.fit_inputs(inputs)
    torch.nn.init.normal_(model.gate.linear.weight, std=0.1)
    torch.manual_seed(1)
    result = loss(model(inputs), targets, model)
    result.total.backward()
    grads = {n: p.grad for m in (model, loss) for n, p in m.named_parameters() if p.grad is not None}
    return result, grads


def test_shapes_units_and_order(model_config: ModelConfig, make_inputs: Make) -> None:
    model, _ = _build(model_config)
    model.set_target_scale("ltv", 100.0, 0.001)
    inputs = make_inputs(9)
    outputs, predictions = model(inputs), model.predict(inputs)
    assert model.expert_names == ("deepfm", "temporal", "raw_scale")
    assert tuple(outputs.predictions) == tuple(predictions) == model.task_names
    assert outputs.gates.shape == (9, 16, 3)
    assert outputs.interpretation == {}
    for task in model_config.tasks:
        assert outputs.predictions[task.name].shape == (9, task.out)
        got = predictions[task.name]
        if task.kind == "binary":
            assert got.shape == (9,)
            assert bool(((got > 0) & (got < 1)).all())
        elif task.kind == "multiclass":
            torch.testing.assert_close(got.sum(1), torch.ones(9))
        elif task.kind == "contrastive":
            assert got.shape == (9, 20)
        else:
            assert got.shape == (9,)
    assert bool(((predictions["ltv"] - 100).abs() < 0.1).all())
    assert model.training
    assert set(model(inputs, interpret=True).interpretation) == set(model.expert_names)


def test_first_gates_are_the_prior_and_the_summary_adds_up(model_config: ModelConfig, make_inputs: Make) -> None:
    model, _ = _build(model_config)
    gates = model(make_inputs()).gates
    prior = torch.tensor([-1.0, 1.0, -1.0]).softmax(0)
    torch.testing.assert_close(gates[:, model.task_names.index("churn")], prior.expand(len(gates), 3))
    total = sum(p.numel() for p in model.parameters())
    assert sum(parameter_counts(model).values()) == total
    assert f"{total:,}" in summary(model).splitlines()[-1]
    assert "experts.deepfm" in summary(model)


def _without(inputs: Inputs, name: str, rows: torch.Tensor) -> Inputs:
    """The same rows with one input missing for some: its mask False and its values not numbers."""
    if name == "txn_seq":
        assert inputs.txn_seq is not None
        assert inputs.txn_seq_mask is not None
        mask = inputs.txn_seq_mask & ~rows[:, None]
        sequence = torch.where(mask.unsqueeze(-1), inputs.txn_seq, torch.nan)
        return replace(inputs, txn_seq=sequence, txn_seq_mask=mask, present={})
    columns = torch.arange(12) < 8 if name == "normalised" else torch.arange(12) >= 8
    if name == "all columns":
        columns = torch.ones(12, dtype=torch.bool)
    mask = inputs.features_mask & ~(rows[:, None] & columns)
    return replace(inputs, features=torch.where(mask, inputs.features, torch.nan), features_mask=mask)


@pytest.mark.parametrize(
    ("name", "share"), product(["normalised", "raw", "txn_seq", "all columns"], ["every row", "a random half"])
)
def test_absent_inputs_give_weight_zero_and_no_nan(
    model_config: ModelConfig, make_inputs: Make, make_targets: Make, name: str, share: str
) -> None:
    model, loss = _build(model_config)
    torch.nn.init.normal_(model.gate.linear.weight)
    inputs, targets = make_inputs(), make_targets(model_config.tasks)
    rows = torch.ones(len(inputs), dtype=torch.bool) if share == "every row" else torch.rand(len(inputs)) < 0.5
    outputs = model(_without(inputs, name, rows))
    masked = {"normalised": [0], "txn_seq": [1], "raw": [2], "all columns": [0, 2]}[name]
    assert bool((outputs.gates[rows][:, :, masked] == 0).all())
    assert bool((outputs.gates[~rows] > 0).all())
    result = loss(outputs, targets, model)
    result.total.backward()
    assert bool(result.total.isfinite())
    for parameter in (*model.parameters(), *loss.parameters()):
        assert parameter.grad is None or bool(parameter.grad.isfinite().all())


def test_a_row_with_nothing_but_its_cluster_is_finite(model_config: ModelConfig, make_inputs: Make) -> None:
    model, rows = _build(model_config)[0], torch.ones(48, dtype=torch.bool)
    inputs = _without(_without(make_inputs(), "all columns", rows), "txn_seq", rows)
    outputs = model(inputs)
    assert not outputs.gates.any()
    assert all(bool(p.isfinite().all()) for p in outputs.predictions.values())
    assert all(
        bool(p.isfinite().all()) for p in model.predict(replace(inputs, txn_seq=None, txn_seq_mask=None)).values()
    )


def test_one_row_does_not_read_another(model_config: ModelConfig, make_inputs: Make) -> None:
    model, inputs = _build(model_config)[0], make_inputs(12)
    torch.nn.init.normal_(model.gate.linear.weight)
    order = torch.randperm(12)
    for (name, whole), shuffled in zip(
        model.predict(inputs).items(), model.predict(inputs.index(order)).values(), strict=True
    ):
        torch.testing.assert_close(whole[order], shuffled, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.filterwarnings("ignore:relation", "ignore:expert")
def test_an_expert_without_its_input_in_the_data_set_is_left_out(input_config: InputConfig, make_inputs: Make) -> None:
    config = ModelConfig(
        inputs=input_config.model_copy(update={"has_txn_seq": False, "present": (0, 1, 2)}), tasks=select(["churn"])
    )
    with pytest.warns(UserWarning, match="left out: the data set has no txn_seq"):
        model = PLEClusterAdaTT(config)
    assert model.expert_names == ("deepfm",)
    inputs = make_inputs()
    assert model(Inputs(inputs.features, inputs.features_mask, inputs.cluster_probs)).gates.shape == (48, 1, 1)
    data = config.to_dict()
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="no expert is left"):
        PLEClusterAdaTT(ModelConfig.from_dict({**data, "experts": [{"name": "raw_scale"}]}))


def test_same_seed_same_step(model_config: ModelConfig, make_inputs: Make, make_targets: Make) -> None:
    inputs, targets = make_inputs(), make_targets(model_config.tasks)
    (a, grads_a), (b, grads_b) = _step(model_config, inputs, targets), _step(model_config, inputs, targets)
    assert torch.equal(a.total, b.total)
    assert all(torch.equal(grads_a[n], grads_b[n]) for n in grads_a)


def test_half_precision_keeps_gates_and_losses_in_float32(
    model_config: ModelConfig, make_inputs: Make, make_targets: Make
) -> None:
    model, loss = _build(model_config)
    inputs, targets = make_inputs(), make_targets(model_config.tasks)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(inputs)
        result = loss(outputs, targets, model)
    result.total.backward()
    assert outputs.gates.dtype == result.total.dtype == torch.float32
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    model.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(inputs).predictions
    for name, whole in model(inputs).predictions.items():
        torch.testing.assert_close(half[name].float(), whole, atol=0.15, rtol=0.15)


# Every setting and a value it can be turned to. A test below holds that the table is complete.
SWITCHES: dict[str, Any] = {
    "inputs.present": [0, 1, 2, 8, 9],
    "inputs.normalised": 9,
    "inputs.seq_channels": [0, 1],
    "inputs.has_txn_seq": False,
    "tasks.kind+loss+out": {
        "retention": {"kind": "multiclass", "loss": "nll", "out": 2, "focal_gamma": None, "focal_alpha": None}
    },
    "tasks.group": {"churn": {"group": "engagement"}},
    "tasks.weight": {"churn": {"weight": 3.0}},
    "tasks.experts": {"churn": {"experts": ["deepfm"]}},
    "tasks.loss": {"engagement": {"loss": "huber"}},
    "tasks.focal_gamma": {"churn": {"focal_gamma": 1.0}},
    "tasks.focal_alpha": {"churn": {"focal_alpha": 0.5}},
    "tasks.huber_delta": {"ltv": {"huber_delta": 0.3}},
    "tasks.temperature": {"brand_prediction": {"temperature": 0.2}},
    "tasks.candidates": {"brand_prediction": {"candidates": 25}},
    "tasks.negatives": {"brand_prediction": {"negatives": 6}},
    "tasks.out": {"brand_prediction": {"out": 64}},
    "experts.order": ["raw_scale", "deepfm", "temporal"],
    "experts.deepfm.width": 32,
    "experts.deepfm.bins": 5,
    "experts.deepfm.fit_rows": 7,
    "experts.deepfm.embedding": 4,
    "experts.deepfm.hidden": [16],
    "experts.deepfm.dropout": 0.4,
    "experts.temporal.width": 32,
    "experts.temporal.fit_rows": 7,
    "experts.temporal.branches": [{"kind": "transformer"}, {"kind": "transformer"}],
    "experts.temporal.branches.patch_days": [{"patch_days": 5}],
    "experts.temporal.branches.model_width": [{"model_width": 16}],
    "experts.temporal.branches.layers": [{"layers": 1}],
    "experts.temporal.branches.heads": [{"heads": 4}],
    "experts.temporal.branches.feedforward": [{"feedforward": 16}],
    "experts.temporal.branches.dropout": [{"dropout": 0.4}],
    "experts.raw_scale.width": 32,
    "experts.raw_scale.hidden": [32],
    "experts.raw_scale.dropout": 0.4,
    "gate.prior_bias": 0.0,
    "gate.dim_normalize": False,
    "gate.entropy_weight": 0.1,
    "basket.hidden": [64],
    "basket.width": 16,
    "basket.cluster_width": 8,
    "basket.routing": "hard",
    "basket.dropout": 0.4,
    "transfer.strength": 1.0,
    "transfer.relations": [{"source": "ctr", "target": "cvr", "kind": "sequential"}],
    "transfer.relations.kind": [{**r.to_dict(), "kind": "feature"} for r in DEFAULT_RELATIONS],
    "tower.hidden": [32],
    "tower.dropout": 0.5,
    "weighting.strategy": "fixed",
    "weighting.log_variance": [1.0, 2.0],
    "weighting.precision": [2.0, 3.0],
}
# What the settings above cannot be turned to one by one: names, and sizes that the inputs fix.
FIXED = {"inputs.columns", "inputs.clusters", "inputs.seq_steps", "inputs.seq_width", "tasks.name"}


def _turned(config: ModelConfig, switch: str, value: Any) -> ModelConfig:
    data = config.to_dict()
    section, _, rest = switch.partition(".")
    if section == "tasks":
        data["tasks"] = [{**task, **value.get(task["name"], {})} for task in data["tasks"]]
    elif switch == "experts.order":
        data["experts"] = [next(e for e in data["experts"] if e["name"] == name) for name in value]
    elif section == "experts":
        name, key = rest.split(".")[:2]
        data["experts"] = [{**e, key: value} if e["name"] == name else e for e in data["experts"]]
    else:
        data[section][rest.split(".")[0]] = value
    return ModelConfig.from_dict(data)


@pytest.mark.filterwarnings("ignore:expert")
@pytest.mark.parametrize("switch", SWITCHES)
def test_every_setting_changes_a_step(
    model_config: ModelConfig, make_inputs: Make, make_targets: Make, switch: str
) -> None:
    if switch == "gate.dim_normalize":  # with experts of one width every scale is 1
        model_config = _turned(model_config, "experts.deepfm.width", 32)
    turned = _turned(model_config, switch, SWITCHES[switch])
    inputs, targets = make_inputs(), make_targets(model_config.tasks)
    before, grads = _step(model_config, inputs, targets)
    if switch == "tasks.kind+loss+out":
        targets.values["retention"] = targets.values["retention"].long()
    after, turned_grads = _step(turned, inputs, targets)
    same_loss = torch.equal(before.total, after.total)
    same_grads = grads.keys() == turned_grads.keys() and all(
        grads[n].shape == turned_grads[n].shape and torch.equal(grads[n], turned_grads[n]) for n in grads
    )
    assert not (same_loss and same_grads)


def test_the_table_of_settings_is_complete(model_config: ModelConfig) -> None:
    covered = {part for switch in SWITCHES for part in _parts(switch)} | FIXED
    data, names = model_config.to_dict(), set()
    for section, content in data.items():
        if section == "tasks":
            names |= {f"tasks.{key}" for key in content[0]}
        elif section == "experts":
            for expert in content:
                names |= {f"experts.{expert['name']}.{key}" for key in expert if key != "name"}
                branches = expert.get("branches", [{}])[0]
                names |= {f"experts.temporal.branches.{key}" for key in branches if key != "kind"}
        else:
            names |= {f"{section}.{key}" for key in content}
    assert names - covered == set()


def _parts(switch: str) -> list[str]:
    if "+" not in switch:
        return [switch]
    section, keys = switch.split(".")
    return [f"{section}.{key}" for key in keys.split("+")]


def test_everything_learns(model_config: ModelConfig, make_inputs: Make, make_targets: Make) -> None:
    model, loss = _build(model_config)
    inputs, targets = make_inputs(), make_targets(model_config.tasks, share=1.0)
    model.fit_inputs(inputs)
    parameters = [*model.parameters(), *loss.parameters()]
    start = {n: p.detach().clone() for n, p in (*model.named_parameters(), *loss.named_parameters())}
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    totals = []
    for _ in range(40):
        optimizer.zero_grad()
        result = loss(model(inputs), targets, model)
        result.total.backward()
        optimizer.step()
        totals.append(result.total.item())
    assert totals[-1] < totals[0]
    for name, parameter in (*model.named_parameters(), *loss.named_parameters()):
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name
        assert not torch.equal(parameter, start[name]), name
    moved = (model.gate.linear.bias.detach() - start["gate.linear.bias"]).view(16, 3).abs().amin(1)
    assert bool((moved > 0).all())  # every gate of every task
    for name in model.expert_names:
        norm = sum(float(p.grad.norm()) for p in model.experts[name].parameters() if p.grad is not None)
        assert norm > 0, name


def test_frozen_shared_part_does_not_move_and_survives_a_checkpoint(
    model_config: ModelConfig, make_inputs: Make, make_targets: Make
) -> None:
    model, loss = _build(model_config)
    model.freeze_shared()
    outputs = model(make_inputs())
    assert model.regularisation(outputs) == {}
    loss(outputs, make_targets(model_config.tasks), model).total.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith(("experts.", "gate.")), name
    other, _ = _build(model_config)
    other.load_state_dict(model.state_dict())
    assert not any(p.requires_grad for p in (*other.experts.parameters(), *other.gate.parameters()))
    other.freeze_shared(False)
    assert all(p.requires_grad for p in other.parameters())
    assert set(other.regularisation(other(make_inputs()))) == {"gate_entropy"}


def test_state_holds_all_that_was_fitted(model_config: ModelConfig, make_inputs: Make) -> None:
    model, _ = _build(model_config)
    inputs = make_inputs()
    model.fit_inputs(inputs)
    model.set_target_scale("engagement", 4.0, 2.5)
    model.table("brand_prediction").set_frequency(torch.arange(20))
    torch.manual_seed(9)
    other = PLEClusterAdaTT(model_config)
    other.load_state_dict(model.state_dict())
    for name, prediction in model.predict(inputs).items():
        assert torch.equal(prediction, other.predict(inputs)[name])
    assert torch.equal(other.table("brand_prediction").frequency, model.table("brand_prediction").frequency)


def test_regression_heads_are_standardised_and_restored(model_config: ModelConfig) -> None:
    model, _ = _build(model_config)
    model.set_target_scale("ltv", 3.0, 2.0)
    label = torch.tensor([1.0, 3.0, 7.0])
    standard = model.scale("ltv").standardise(label)
    assert standard.squeeze(-1).tolist() == [-1.0, 0.0, 2.0]
    assert torch.equal(model.to_units("ltv", standard), label)
    with pytest.raises(ValueError, match="not positive"):
        model.set_target_scale("ltv", 0.0, 0.0)
    with pytest.raises(ValueError, match="'churn' is not a regression task"):
        model.set_target_scale("churn", 0.0, 1.0)
    with pytest.raises(ValueError, match="not a contrastive task"):
        model.table("ltv")
