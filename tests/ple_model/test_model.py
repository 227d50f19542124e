from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from ple_model.config import AuxiliaryConfig, InputConfig, ModelConfig
from ple_model.inputs import Inputs, Targets
from ple_model.losses.multitask import LossResult, MultiTaskLoss
from ple_model.model import PLEClusterAdaTT
from tests.ple_model.catalogue import RELATIONS, select

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
    _live_through_epochs(model, loss)
    result = loss(model(inputs), targets, model)
    result.total.backward()
    grads = {n: p.grad for m in (model, loss) for n, p in m.named_parameters() if p.grad is not None}
    return result, grads


def _live_through_epochs(model: PLEClusterAdaTT, loss: MultiTaskLoss) -> None:
    """What two epochs would have left in everything that measures or counts."""
    count, labelled = len(model.task_names), torch.ones(len(model.task_names), dtype=torch.bool)
    for epoch in (1, 2):
        gradients = torch.randn(count, 3) + 0.3
        gram, losses = gradients @ gradients.T, torch.rand(count) + 0.5
        if loss.adatt is not None:
            loss.adatt.begin_epoch(epoch)
            loss.adatt.measure(gram, labelled)
        if loss.conflict is not None:
            loss.conflict.measure(gram, labelled)
        if model.evidential is not None:
            model.evidential.begin_epoch(epoch)
        loss.weighting.measure(gram.diagonal().sqrt(), losses, labelled)
        loss.weighting.epoch(losses)


def test_shapes_units_and_order(model_config: ModelConfig, make_inputs: Make) -> None:
    model, _ = _build(model_config)
    model.set_target_scale("ltv", 100.0, 0.001)
    inputs = make_inputs(9)
    outputs, predictions = model(inputs), model.predict(inputs)
    assert model.expert_names == tuple(expert.name for expert in model_config.experts)
    assert tuple(outputs.predictions) == tuple(predictions) == model.task_names
    assert outputs.gates.shape == (9, 16, 9)
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


def test_first_gates_are_the_prior(model_config: ModelConfig, make_inputs: Make) -> None:
    model, _ = _build(model_config)
    inputs = make_inputs()
    outputs = model(inputs)
    present = torch.stack([expert.present(inputs) for expert in model.experts.values()], dim=1)
    everything = present.all(1)
    prior = torch.tensor([1.0 if n in ("perslay", "temporal") else -1.0 for n in model.expert_names]).softmax(0)
    gates = outputs.gates[everything, model.task_names.index("churn")]
    assert len(gates) > 5
    torch.testing.assert_close(gates, prior.expand(len(gates), 9))


SIDE_NAMES = (
    *("hierarchy", "tda_short", "tda_long", "tda_global", "hmm_journey", "hmm_lifecycle", "hmm_behavior"),
    *("txn_seq", "session_seq", "collaborative", "segment", "coldstart", "anonymous", "brand_history"),
)
INPUT_NAMES = ("all columns", "normalised", "raw", *SIDE_NAMES, "all side inputs")


def _without(inputs: Inputs, name: str, rows: torch.Tensor) -> Inputs:
    """The same rows with one input missing for some: its mask False and its values not numbers."""
    names = SIDE_NAMES if name == "all side inputs" else (name,)
    if set(names) <= set(SIDE_NAMES):
        sides, present = dict(inputs.sides), dict(inputs.present)
        for side in names:
            places = rows.view(-1, *[1] * (sides[side].dim() - 1))
            sides[side] = torch.where(places, torch.nan, sides[side])
            present[side] = present[side] & ~rows
        return replace(inputs, sides=sides, present=present)
    columns = torch.arange(12) < 8 if name == "normalised" else torch.arange(12) >= 8
    if name == "all columns":
        columns = torch.ones(12, dtype=torch.bool)
    mask = inputs.features_mask & ~(rows[:, None] & columns)
    return replace(inputs, features=torch.where(mask, inputs.features, torch.nan), features_mask=mask)


#: Input → experts that have nothing to read without it.
BLIND = {
    "all columns": ("deepfm", "causal", "optimal_transport", "raw_scale", "wide"),
    "normalised": ("deepfm", "causal", "optimal_transport"),
    "raw": ("raw_scale",),
    "collaborative": ("lightgcn",),
    "all side inputs": ("temporal", "lightgcn"),
}


@pytest.mark.parametrize(("name", "share"), product(INPUT_NAMES, ["every row", "a random half"]))
def test_absent_inputs_give_weight_zero_and_no_nan(
    model_config: ModelConfig, make_inputs: Make, make_targets: Make, name: str, share: str
) -> None:
    model, loss = _build(model_config.model_copy(update={"auxiliary": AuxiliaryConfig(enabled=False)}))
    torch.nn.init.normal_(model.gate.linear.weight)
    inputs, targets = make_inputs(), make_targets(model_config.tasks)
    model.fit_inputs(inputs)
    rows = torch.ones(len(inputs), dtype=torch.bool) if share == "every row" else torch.rand(len(inputs)) < 0.5
    outputs = model(_without(inputs, name, rows))
    blind = [model.expert_names.index(expert) for expert in BLIND.get(name, ())]
    assert bool((outputs.gates[rows][:, :, blind] == 0).all())
    assert bool((outputs.gates[~rows][:, :, blind] > 0).all())
    result = loss(outputs, targets, model)
    result.total.backward()
    assert bool(result.total.isfinite())
    for parameter in (*model.parameters(), *loss.parameters()):
        assert parameter.grad is None or bool(parameter.grad.isfinite().all())
    with_auxiliary, _ = _build(model_config)
    predictions = with_auxiliary.predict(_without(inputs, name, rows))
    assert all(bool(p.isfinite().all()) for p in predictions.values())


def test_a_row_with_nothing_but_its_cluster_is_finite(model_config: ModelConfig, make_inputs: Make) -> None:
    model, rows = _build(model_config)[0], torch.ones(48, dtype=torch.bool)
    inputs = _without(make_inputs(), "all columns", rows)
    nothing = _without(inputs, "all side inputs", rows)
    outputs = model(nothing)
    assert not outputs.gates.any()
    assert all(bool(p.isfinite().all()) for p in outputs.predictions.values())
    bare = inputs.without(*SIDE_NAMES)
    for name, prediction in model.predict(bare).items():
        torch.testing.assert_close(prediction, model.predict(nothing)[name])


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
        inputs=input_config.model_copy(update={"sides": (), "present": (0, 1)}), tasks=select(["churn"])
    )
    with pytest.warns(UserWarning, match="temporal left out: the data set has no "):
        model = PLEClusterAdaTT(config)
    assert model.expert_names == ("deepfm", "causal", "optimal_transport")
    assert model.routing is None
    assert model.auxiliary is None
    inputs = make_inputs()
    assert model(Inputs(inputs.features, inputs.features_mask, inputs.cluster_probs)).gates.shape == (48, 1, 3)
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
    "inputs.sides": [{"name": "txn_seq", "shape": [30, 4], "masked": True, "channels": [0, 1]}],
    "tasks.kind+loss+out": {
        "retention": {"kind": "multiclass", "loss": "nll", "out": 2, "focal_gamma": None, "focal_alpha": None}
    },
    "tasks.group": {"churn": {"group": "engagement"}},
    "tasks.weight": {"churn": {"weight": 3.0}},
    "tasks.experts": {"churn": {"experts": ["deepfm"]}},
    "tasks.hmm": {"churn": {"hmm": "journey"}},
    "tasks.loss": {"engagement": {"loss": "huber"}},
    "tasks.loss.binary": {"churn": {"loss": "log_loss", "focal_gamma": None, "focal_alpha": None}},
    "tasks.focal_gamma": {"churn": {"focal_gamma": 1.0}},
    "tasks.focal_alpha": {"churn": {"focal_alpha": 0.5}},
    "tasks.huber_delta": {"ltv": {"huber_delta": 0.3}},
    "tasks.temperature": {"brand_prediction": {"temperature": 0.2}},
    "tasks.candidates": {"brand_prediction": {"candidates": 25}},
    "tasks.negatives": {"brand_prediction": {"negatives": 6}},
    "tasks.history": {"brand_prediction": {"history": [7, -1, 2, 0]}},
    "tasks.columns": {"churn": {"columns": [1, 2, 9]}},
    "tasks.by_class": {"channel": {"by_class": [[0, 2], [1, -1], [3, -1]]}},
    "tasks.out": {"brand_prediction": {"out": 64}},
    "experts.order": ["wide", "raw_scale", "deepfm", "temporal"],
    "experts.unified_hgcn.width": 48,
    "experts.unified_hgcn.balls": [10, 10],
    "experts.unified_hgcn.covisit": [],
    "experts.unified_hgcn.fit_rows": 7,
    "experts.unified_hgcn.hidden": [24],
    "experts.unified_hgcn.curvature": 0.5,
    "experts.unified_hgcn.curvature_span": 2.0,
    "experts.unified_hgcn.max_norm": 0.1,
    "experts.unified_hgcn.dropout": 0.4,
    "experts.perslay.width": 32,
    "experts.perslay.points": 12,
    "experts.perslay.weight_power": 0.5,
    "experts.perslay.spread": 1.0,
    "experts.perslay.fit_rows": 7,
    "experts.perslay.hidden": [24],
    "experts.perslay.dropout": 0.4,
    "experts.deepfm.width": 32,
    "experts.deepfm.bins": 5,
    "experts.deepfm.fit_rows": 7,
    "experts.deepfm.embedding": 3,
    "experts.deepfm.hidden": [16],
    "experts.deepfm.dropout": 0.4,
    "experts.temporal.width": 32,
    "experts.temporal.fit_rows": 7,
    "experts.temporal.hidden": [48],
    "experts.temporal.dropout": 0.4,
    "experts.temporal.branches": [{"kind": "transformer"}, {"kind": "liquid"}],
    "experts.temporal.branches.mamba.patch_days": 5,
    "experts.temporal.branches.mamba.model_width": 8,
    "experts.temporal.branches.mamba.layers": 2,
    "experts.temporal.branches.mamba.state": 4,
    "experts.temporal.branches.mamba.expand": 2,
    "experts.temporal.branches.mamba.heads": 4,
    "experts.temporal.branches.mamba.taps": 3,
    "experts.temporal.branches.mamba.chunk": 2,
    "experts.temporal.branches.mamba.dropout": 0.4,
    "experts.temporal.branches.liquid.patch_days": 5,
    "experts.temporal.branches.liquid.model_width": 8,
    "experts.temporal.branches.liquid.backbone": 8,
    "experts.temporal.branches.liquid.dropout": 0.4,
    "experts.temporal.branches.transformer.patch_days": 5,
    "experts.temporal.branches.transformer.model_width": 8,
    "experts.temporal.branches.transformer.layers": 2,
    "experts.temporal.branches.transformer.heads": 4,
    "experts.temporal.branches.transformer.feedforward": 8,
    "experts.temporal.branches.transformer.dropout": 0.4,
    "experts.lightgcn.width": 32,
    "experts.lightgcn.fit_rows": 7,
    "experts.lightgcn.hidden": [24],
    "experts.lightgcn.dropout": 0.4,
    "experts.causal.width": 32,
    "experts.causal.variables": 5,
    "experts.causal.encoding": 4,
    "experts.causal.fit_rows": 7,
    "experts.causal.factors": 2,
    "experts.causal.acyclicity": 1.0,
    "experts.causal.sparsity": 0.1,
    "experts.causal.reconstruction": 1.0,
    "experts.causal.dropout": 0.4,
    "experts.optimal_transport.width": 32,
    "experts.optimal_transport.support": 8,
    "experts.optimal_transport.prototypes": 4,
    "experts.optimal_transport.dimension": 3,
    "experts.optimal_transport.spread": 1.0,
    "experts.optimal_transport.epsilon": 0.5,
    "experts.optimal_transport.iterations": 2,
    "experts.optimal_transport.hidden": [24],
    "experts.optimal_transport.dropout": 0.4,
    "experts.raw_scale.width": 32,
    "experts.raw_scale.hidden": [32],
    "experts.raw_scale.dropout": 0.4,
    "experts.wide.width": 32,
    "experts.wide.quantiles": 5,
    "experts.wide.flags": 1,
    "experts.wide.fit_rows": 7,
    "experts.wide.hidden": [24],
    "experts.wide.dropout": 0.4,
    "members": 2,
    "gate.preferred": ["wide"],
    "gate.dropout": 0.5,
    "gate.prior_bias": 0.0,
    "gate.dim_normalize": False,
    "gate.entropy_weight": 0.1,
    "routing.enabled": False,
    "routing.width": 16,
    "basket.kind": "cluster",
    "basket.cluster_hidden": [8],
    "basket.hidden": [64],
    "basket.width": 16,
    "basket.cluster_width": 8,
    "basket.routing": "hard",
    "basket.norm": False,
    "basket.dropout": 0.4,
    "transfer.strength": 1.0,
    "transfer.relations": [{"source": "ctr", "target": "cvr", "kind": "sequential"}],
    "transfer.relations.kind": [{**r.to_dict(), "kind": "feature"} for r in RELATIONS],
    "repeat.enabled": False,
    "repeat.hidden": [8],
    "linear.enabled": False,
    "linear.rate": 0.25,
    "classes.enabled": False,
    "classes.context": 8,
    "classes.embedding": 2,
    "classes.hidden": [16],
    "classes.rate": 0.25,
    "task_experts.enabled": False,
    "task_experts.hidden": 4,
    "task_experts.closed": 0.1,
    "task_experts.dropout": 0.4,
    "tower.hidden": [32],
    "tower.dropout": 0.5,
    "weighting.strategy": "fixed",
    "weighting.log_variance": [1.0, 2.0],
    "weighting.precision": [2.0, 3.0],
    "weighting.restoring": 0.5,
    "weighting.rate": 0.5,
    "weighting.temperature": 0.5,
    "weighting.conflict": "upgrad",
    "weighting.cagrad_radius": 0.8,
    "evidential.enabled": False,
    "evidential.weight": 0.5,
    "evidential.kl_weight": 0.1,
    "evidential.kl_epochs": 3,
    "evidential.buckets": 8,
    "autoencoder.enabled": False,
    "autoencoder.expansion": 2,
    "autoencoder.active": 8,
    "autoencoder.auxiliary": 0.5,
    "autoencoder.sparsity": 0.1,
    "autoencoder.weight": 0.1,
    "autoencoder.share": 0.5,
    "auxiliary.enabled": False,
    "auxiliary.hidden": [8],
    "adatt.enabled": False,
    "adatt.momentum": 0.5,
    "adatt.conflict": 0.5,
    "adatt.prior": [0.9, 0.1],
    "adatt.temperature": 0.2,
    "adatt.strength": 0.3,
    "adatt.limit": 0.001,
    "adatt.warmup_epochs": 4,
    "adatt.freeze_epoch": 50,
    "adatt.intra": {"engagement": 0.1, "lifecycle": 0.7, "value": 0.6, "consumption": 0.7},
    "adatt.inter": 0.9,
}
# What another setting must be for a setting to count.
BESIDE: dict[str, tuple[str, Any]] = {
    "gate.dim_normalize": ("experts.deepfm.width", 32),  # with experts of one width every scale is 1
    "basket.cluster_hidden": ("basket.kind", "cluster"),
    "weighting.restoring": ("weighting.strategy", "gradnorm"),
    "weighting.rate": ("weighting.strategy", "gradnorm"),
    "weighting.temperature": ("weighting.strategy", "dwa"),
    "weighting.cagrad_radius": ("weighting.conflict", "cagrad"),
    "autoencoder.auxiliary": ("autoencoder.active", 8),
    "experts.unified_hgcn.max_norm": ("experts.unified_hgcn.curvature", 2.0),
}
# What a single step cannot show: names and sizes that the inputs fix, and settings with a test of their own.
FIXED = {
    *("inputs.columns", "inputs.clusters", "tasks.name"),
    "tasks.none_class",  # of the scores: test_kinds.py
    "inputs.bounds",  # of the way from a frame to inputs: test_blend.py
    "experts.causal.edge",  # of the report: test_causal.py
    "experts.causal.dual_rate",  # of the next step: test_causal.py
    "experts.temporal.branches.mamba.kernel",  # the same numbers on a GPU: test_temporal_mamba.py
    *("adatt.every", "adatt.sub_batch", "adatt.affinity"),  # of a run: test_affinity.py
}


def _turned(config: ModelConfig, switch: str, value: Any) -> ModelConfig:
    data = config.to_dict()
    section, _, rest = switch.partition(".")
    if not rest:
        data[section] = value
    elif section == "tasks":
        data["tasks"] = [{**task, **value.get(task["name"], {})} for task in data["tasks"]]
    elif switch == "experts.order":
        data["experts"] = [next(e for e in data["experts"] if e["name"] == name) for name in value]
    elif section == "experts":
        name, key, *branch = rest.split(".")
        for expert in data["experts"]:
            if expert["name"] == name and branch:
                expert[key] = [{**b, branch[1]: value} if b["kind"] == branch[0] else b for b in expert[key]]
            elif expert["name"] == name:
                expert[key] = value
    else:
        data[section][rest.split(".")[0]] = value
    return ModelConfig.from_dict(data)


@pytest.mark.filterwarnings("ignore:expert")
@pytest.mark.parametrize("switch", SWITCHES)
def test_every_setting_changes_a_step(
    model_config: ModelConfig, make_inputs: Make, make_targets: Make, switch: str
) -> None:
    if switch in BESIDE:
        model_config = _turned(model_config, *BESIDE[switch])
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
                for branch in expert.get("branches", []):
                    kind = f"experts.temporal.branches.{branch['kind']}"
                    names |= {f"{kind}.{key}" for key in branch if key != "kind"}
        else:
            names |= {f"{section}.{key}" for key in content} if isinstance(content, dict) else {section}
    assert names - covered == set()


def _parts(switch: str) -> list[str]:
    if "+" not in switch:
        return [switch]
    section, keys = switch.split(".")
    return [f"{section}.{key}" for key in keys.split("+")]


def test_everything_learns(model_config: ModelConfig, make_inputs: Make, make_targets: Make) -> None:
    model, loss = _build(model_config)
    inputs, targets = make_inputs(), make_targets(model_config.tasks, share=1.0)
    for mode in ("journey", "lifecycle", "behavior"):  # some rows read the learnt default
        inputs = _without(inputs, f"hmm_{mode}", torch.arange(len(inputs)) % 5 == 0)
    model.fit_inputs(inputs)
    parameters = [*model.parameters(), *loss.parameters()]
    start = {n: p.detach().clone() for n, p in (*model.named_parameters(), *loss.named_parameters())}
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    totals = []
    for _ in range(100):
        optimizer.zero_grad()
        result = loss(model(inputs), targets, model)
        result.total.backward()
        optimizer.step()
        totals.append(result.total.item())
    assert totals[-1] < totals[0]
    for name, parameter in (*model.named_parameters(), *loss.named_parameters()):
        assert parameter.grad is not None, name
        assert not torch.equal(parameter, start[name]), name
    moved = (model.gate.linear.bias.detach() - start["gate.linear.bias"]).view(16, 9).abs().amin(1)
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
    assert set(model.regularisation(outputs)) == {"autoencoder"}
    loss(outputs, make_targets(model_config.tasks), model).total.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith(("experts.", "gate.", "auxiliary.")), name
    other, _ = _build(model_config)
    other.load_state_dict(model.state_dict())
    assert not any(p.requires_grad for p in (*other.experts.parameters(), *other.gate.parameters()))
    other.freeze_shared(False)
    assert all(p.requires_grad for p in other.parameters())
    assert "gate_entropy" in other.regularisation(other(make_inputs()))
    other.freeze_gates()
    again, _ = _build(model_config)
    again.load_state_dict(other.state_dict())
    assert not any(p.requires_grad for p in again.gate.parameters())
    assert all(p.requires_grad for p in again.experts.parameters())


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
