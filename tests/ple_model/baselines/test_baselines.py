"""Each published baseline against loops that read its paper's equations, and all of them in the trainer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from torch.nn import functional as F

from ple_model.baselines import BASELINES, Baseline, build_baseline
from ple_model.baselines.bottoms import Asymmetric, Customized, SharedBottom, SingleTask
from ple_model.baselines.cgc_layer import CGCLayer
from ple_model.baselines.encoder import FlatSide, InputEncoder
from ple_model.baselines.mixtures import PLE, MLMMoE, MMoE
from ple_model.baselines.stacked import FannedMLP, StackedMLP, Trunk
from ple_model.baselines.stitched import CrossStitch, Sluice
from ple_model.config import HISTORIES, AdaTTConfig, SideConfig, TaskConfig, WeightingConfig
from ple_model.config.baselines import (
    ArchitectureConfig,
    AsymmetricConfig,
    BaselineConfig,
    CGCConfig,
    CrossStitchConfig,
    CustomizedConfig,
    InputEncoderConfig,
    MLMMoEConfig,
    MMoEConfig,
    PLEConfig,
    SharedBottomConfig,
    SingleTaskConfig,
    SluiceConfig,
)
from ple_model.inputs import Inputs
from ple_model.layers.towers import StackedLinear
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.tasks import Relation
from ple_model.training.trainer import fit
from tests.ple_model import samples

TASKS = tuple(TaskConfig(name=f"t{i}", group="g", kind="regression", loss="mse") for i in range(3))
T, B, D = len(TASKS), 5, 7
HIDDEN = (6, 4)
CONFIGS: dict[str, Any] = {
    "single_task": SingleTaskConfig(hidden=HIDDEN),
    "shared_bottom": SharedBottomConfig(hidden=HIDDEN),
    "asymmetric": AsymmetricConfig(
        hidden=HIDDEN,
        relations=(
            Relation(source="t0", target="t1", kind="feature"),
            Relation(source="t0", target="t2", kind="feature"),
            Relation(source="t1", target="t2", kind="feature"),
        ),
    ),
    "customized": CustomizedConfig(hidden=HIDDEN),
    "cross_stitch": CrossStitchConfig(hidden=HIDDEN, own=0.7),
    "sluice": SluiceConfig(width=6, layers=3, subspaces=2, own=0.7),
    "mmoe": MMoEConfig(hidden=HIDDEN, experts=4),
    "ml_mmoe": MLMMoEConfig(hidden=HIDDEN, experts=4, levels=3),
    "cgc": CGCConfig(hidden=HIDDEN, specific=2, shared=3),
    "ple": PLEConfig(hidden=HIDDEN, specific=2, shared=3, levels=3),
}


def trunk(name: str) -> Any:
    """A network with weights far from those it starts with, without dropout."""
    network = BASELINES[name](CONFIGS[name], TASKS, D).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return network


def rows(width: int = D) -> Tensor:
    return torch.randn(B, width)


def same(got: Tensor, expected: list[Tensor]) -> None:
    """[T, B, width] against a list by task."""
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=1e-5)


# --- loops that read the papers -----------------------------------------------------------------------------------


def stacked(module: StackedMLP, i: int, x: Tensor) -> Tensor:
    for layer in module.layers:
        if isinstance(layer, StackedLinear):
            x = F.relu(x @ layer.weight[i] + layer.bias[i])
    return x


def fanned(module: FannedMLP, i: int, x: Tensor) -> Tensor:
    size = module.first.out_features // module.stack
    part = slice(i * size, (i + 1) * size)
    x = F.relu(x @ module.first.weight[part].T + module.first.bias[part])
    return x if module.rest is None else stacked(module.rest, i, x)


def expert(layer: CGCLayer, i: int, x: Tensor) -> Tensor:
    """Expert i of a layer, in the order of its gates, on its own input."""
    size = HIDDEN[0]
    if not layer.streams:
        part = slice(i * size, (i + 1) * size)
        x = x @ layer.first.weight[0][:, part] + layer.first.bias[0, 0, part]
    elif i < T * layer.specific:
        task, j = divmod(i, layer.specific)
        part = slice(j * size, (j + 1) * size)
        x = x @ layer.first_specific.weight[task][:, part] + layer.first_specific.bias[task][:, part]
    else:
        j = i - T * layer.specific
        part = slice(j * size, (j + 1) * size)
        x = x @ layer.first_shared.weight[part].T + layer.first_shared.bias[part]
    x = F.relu(x)
    return x if layer.rest is None else stacked(layer.rest, i, x)


def gate(layer: CGCLayer, task: int, x: Tensor) -> Tensor:
    """w_k(x) = softmax(W_k x) over the task's own and the shared experts."""
    n = layer.specific + layer.shared
    if layer.streams:
        return (x @ layer.task_gates.weight[task] + layer.task_gates.bias[task]).softmax(-1)
    part = slice(task * n, (task + 1) * n)
    return (x @ layer.gates.weight[part].T + layer.gates.bias[part]).softmax(-1)


def extraction(layer: CGCLayer, own: list[Tensor], common: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """One extraction layer: what goes up for each task, and for the shared experts (Tang et al., eq. 1–5)."""
    n, m = layer.specific, layer.shared
    of_task = [[expert(layer, k * n + i, own[k]) for i in range(n)] for k in range(T)]
    of_all = [expert(layer, T * n + i, common) for i in range(m)]
    up = []
    for k in range(T):
        selected = torch.stack([*of_task[k], *of_all])  # S^k
        up.append(torch.einsum("bn,nbh->bh", gate(layer, k, own[k]), selected))
    if layer.shared_gate is None:
        return up, None
    everything = torch.stack([e for experts in of_task for e in experts] + of_all)
    weights = layer.shared_gate(common).softmax(-1)
    return up, torch.einsum("bn,nbh->bh", weights, everything)


def test_single_task_is_a_network_for_each_task() -> None:
    network: SingleTask = trunk("single_task")
    x = rows(T * D)
    same(network(x).vectors, [stacked(network.bottoms, t, x[:, t * D : (t + 1) * D]) for t in range(T)])


def test_shared_bottom_gives_every_task_the_same() -> None:
    network: SharedBottom = trunk("shared_bottom")
    x = rows()
    same(network(x).vectors, [fanned(network.bottom, 0, x)] * T)


def test_asymmetric_sharing_averages_a_task_with_its_sources() -> None:
    network: Asymmetric = trunk("asymmetric")
    x = rows()
    h = [fanned(network.bottoms, t, x) for t in range(T)]
    same(network(x).vectors, [h[0], (h[0] + h[1]) / 2, (h[0] + h[1] + h[2]) / 3])


def test_customized_sharing_concatenates_own_and_shared() -> None:
    network: Customized = trunk("customized")
    x = rows()
    shared = fanned(network.bottoms, T, x)
    same(network(x).vectors, [torch.cat([fanned(network.bottoms, t, x), shared], dim=1) for t in range(T)])


def test_cross_stitch_mixes_tasks_after_each_layer() -> None:
    network: CrossStitch = trunk("cross_stitch")
    x = rows()
    h = [x] * T
    for layer, alpha in zip(network.layers, network.alpha, strict=True):
        out = [F.relu(h[t] @ layer.weight[t] + layer.bias[t]) for t in range(T)]
        h = [sum(alpha[t, s] * out[s] for s in range(T)) for t in range(T)]
    same(network(x).vectors, h)


def test_cross_stitch_starts_near_separate_networks() -> None:
    network = CrossStitch(CONFIGS["cross_stitch"], TASKS, D)
    assert torch.allclose(network.alpha.sum(-1), torch.ones(2, T))
    assert torch.allclose(network.alpha.diagonal(dim1=1, dim2=2), torch.tensor(0.7))


def test_sluice_mixes_subspaces_and_layers_and_keeps_subspaces_apart() -> None:
    network: Sluice = trunk("sluice")
    x, half = rows(), 3
    h, layers = [x] * T, []
    for layer, alpha in zip(network.layers, network.alpha, strict=True):
        parts = []  # G_{0,0}, G_{0,1}, G_{1,0}, …
        for t in range(T):
            out = F.relu(h[t] @ layer.weight[t] + layer.bias[t])
            parts += [out[:, :half], out[:, half:]]
        mixed = [sum(alpha[i, j] * parts[j] for j in range(2 * T)) for i in range(2 * T)]
        h = [torch.cat([mixed[2 * t], mixed[2 * t + 1]], dim=1) for t in range(T)]
        layers.append(h)
    expected = [sum(network.beta[i, t, 0, 0] * layers[i][t] for i in range(3)) for t in range(T)]
    same(network(x).vectors, expected)
    penalty = sum(
        torch.linalg.matrix_norm(layer.weight[t][:, :half].T @ layer.weight[t][:, half:]).square()
        for layer in network.layers
        for t in range(T)
    )
    torch.testing.assert_close(network.penalty()["orthogonality"], 0.01 * penalty)


def test_mmoe_gives_each_task_its_mixture_of_all_experts() -> None:
    network: MMoE = trunk("mmoe")
    x = rows()
    e = [expert(network.layer, i, x) for i in range(4)]
    expected = []
    for t in range(T):
        weights = gate(network.layer, t, x)
        expected.append(sum(weights[:, i : i + 1] * e[i] for i in range(4)))
    same(network(x).vectors, expected)


def test_multi_level_mmoe_connects_all_experts_of_neighbouring_levels() -> None:
    network: MLMMoE = trunk("ml_mmoe")
    x, n = rows(), 4
    logits = x @ network.gates.weight.T + network.gates.bias
    weights = [logits[:, i * n : (i + 1) * n].softmax(-1) for i in range(n + n + T)]
    e = [fanned(network.first, i, x) for i in range(n)]
    for level, experts in enumerate(network.upper):
        read = [sum(weights[level * n + j][:, i : i + 1] * e[i] for i in range(n)) for j in range(n)]
        e = [stacked(experts, j, read[j]) for j in range(n)]
    same(network(x).vectors, [sum(weights[2 * n + t][:, i : i + 1] * e[i] for i in range(n)) for t in range(T)])


def test_cgc_mixes_a_tasks_own_and_the_shared_experts() -> None:
    network: PLE = trunk("cgc")
    x = rows()
    (layer,) = network.layers
    expected, none = extraction(layer, [x] * T, x)
    assert none is None
    same(network(x).vectors, expected)


def test_ple_is_a_stack_of_extraction_layers_with_shared_gates() -> None:
    network: PLE = trunk("ple")
    x = rows()
    own, common = [x] * T, x
    for layer in network.layers:
        own, above = extraction(layer, own, common)
        common = x if above is None else above
    same(network(x).vectors, own)
    assert [layer.shared_gate is not None for layer in network.layers] == [True, True, False]


def test_ple_with_one_layer_equals_cgc() -> None:
    settings = {"hidden": HIDDEN, "specific": 2, "shared": 3}
    cgc, ple = PLE(CGCConfig(**settings), TASKS, D).eval(), PLE(PLEConfig(**settings, levels=1), TASKS, D).eval()
    assert [p.shape for p in cgc.parameters()] == [p.shape for p in ple.parameters()]
    ple.load_state_dict(cgc.state_dict())
    x = rows()
    assert torch.equal(cgc(x).vectors, ple(x).vectors)
    assert torch.equal(cgc(x).gates, ple(x).gates)


# --- who reads what -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_gates_are_shares_over_the_named_experts(name: str) -> None:
    network: Trunk = trunk(name)
    found = network(rows(T * D if network.own_inputs else D))
    assert found.gates.shape == (B, T, len(network.expert_names))
    assert len(set(network.expert_names)) == len(network.expert_names)
    assert found.vectors.shape == (T, B, network.width)
    assert bool((found.gates >= 0).all())
    torch.testing.assert_close(found.gates.sum(-1), torch.ones(B, T))


def reached(network: PLE, layer: int, task: int) -> list[bool]:
    """Which experts of a layer have a gradient from one task's vector."""
    network.zero_grad()
    network(torch.randn(200, D)).vectors[task].square().sum().backward()
    found = network.layers[layer]
    first = [found.rest.layers[0].weight.grad[i] for i in range(found.experts)]
    return [bool(grad.any()) for grad in first]


def test_a_task_trains_its_own_and_the_shared_experts_of_the_last_layer_and_all_experts_below() -> None:
    network: PLE = trunk("ple")
    assert reached(network, 2, 1) == [False, False, True, True, False, False, True, True, True]
    assert all(reached(network, 0, 1))


def test_single_task_networks_share_no_parameter(input_config: Any, make_inputs: Any) -> None:
    config = BaselineConfig(architecture=SingleTaskConfig(hidden=HIDDEN), inputs=input_config, tasks=TASKS)
    model = build_baseline(config)
    outputs = model(make_inputs())
    outputs.predictions["t1"].sum().backward()
    x = outputs.shared
    (grad,) = torch.autograd.grad(model(make_inputs()).predictions["t1"].sum(), [model.experts.encoder.of_fields])
    assert [bool(g.any()) for g in grad] == [False, True, False]
    assert x.shape == (48, 3 * 256)
    assert [bool(g.any()) for g in model.experts.network.bottoms.layers[0].weight.grad] == [False, True, False]
    vectors = model.experts.encoder.weight.grad.unflatten(1, (3, -1))
    assert [bool(vectors[:, t].any()) for t in range(3)] == [False, True, False]


# --- the encoder --------------------------------------------------------------------------------------------------


def test_a_masked_side_input_is_averaged_over_valid_neighbours() -> None:
    side = SideConfig(name="txn_seq", shape=(7, 3), masked=True, channels=(0, 2))
    values, mask = torch.randn(2, 7, 3) * 5, torch.rand(2, 7) > 0.5
    mask[0] = torch.tensor([True, True, False, False, False, True, True])
    values[~mask] = torch.nan
    inputs = Inputs(
        torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool), torch.ones(2, 1), {"txn_seq": values}, {"txn_seq": mask}
    )
    got, there = FlatSide(side, patch=2)(inputs)
    assert got.shape == there.shape == (2, 4 * 2)
    for b in range(2):
        for place in range(4):
            days = [d for d in (2 * place, 2 * place + 1) if d < 7 and bool(mask[b, d])]
            for j, channel in enumerate((0, 2)):
                assert bool(there[b, 2 * place + j]) == bool(days)
                if days:
                    x = torch.stack([values[b, d, channel] for d in days])
                    expected = (x.sign() * x.abs().log1p()).mean()
                    torch.testing.assert_close(got[b, 2 * place + j], expected)
    assert not there[0, 2:4].any()


def test_stacked_encodings_equal_separate_ones(input_config: Any, make_inputs: Any) -> None:
    config, inputs = InputEncoderConfig(bins=4, embedding=3, patch=4, width=8), make_inputs()
    whole = InputEncoder(config, input_config, 2).eval()
    whole.fit(inputs)
    got = whole(inputs)
    for s in range(2):
        one = InputEncoder(config, input_config, 1).eval()
        one.fit(inputs)
        with torch.no_grad():
            for name in ("weight", "bias", "missing"):
                getattr(one, name).copy_(getattr(whole, name)[:, 3 * s : 3 * s + 3])
            one.of_fields.copy_(whole.of_fields[s : s + 1])
            one.of_sides.weight.copy_(whole.of_sides.weight[8 * s : 8 * s + 8])
            one.of_sides.bias.copy_(whole.of_sides.bias[8 * s : 8 * s + 8])
        torch.testing.assert_close(one(inputs), got[:, 8 * s : 8 * s + 8], atol=1e-5, rtol=1e-5)


def test_scales_come_from_the_values_that_are_there(input_config: Any, make_inputs: Any) -> None:
    encoder, inputs = InputEncoder(InputEncoderConfig(fit_rows=1000), input_config, 1), make_inputs(200)
    away = torch.arange(200) % 3 == 0
    inputs.present["collaborative"] = ~away
    inputs.sides["collaborative"][away] = torch.nan
    encoder.fit(inputs)
    beside = encoder.beside(inputs)
    assert bool(beside.isfinite().all())
    start = sum(side.width for side in encoder.sides if side.side.name in [s.name for s in input_config.sides[:9]])
    block = beside[:, start : start + 10]
    assert not block[away].any()
    torch.testing.assert_close(block[~away].mean(0), torch.zeros(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(block[~away].std(0, correction=0), torch.ones(10), atol=1e-4, rtol=0)


@pytest.mark.parametrize("stack", [1, 2])
def test_what_is_absent_is_never_read(stack: int, input_config: Any, make_inputs: Any) -> None:
    encoder, inputs = InputEncoder(InputEncoderConfig(), input_config, stack).eval(), make_inputs()
    encoder.fit(inputs)
    features, mask = inputs.features.clone(), inputs.features_mask
    plain = encoder(inputs)
    features[~mask] = torch.nan
    assert torch.equal(encoder(Inputs(features, mask, inputs.cluster_probs, inputs.sides, inputs.masks)), plain)
    for name in inputs.sides:
        assert bool(encoder(inputs.without(name)).isfinite().all())
        assert torch.equal(encoder(inputs.without(name)), plain) == (name in HISTORIES)
    other = features.clone()
    other[mask] += 0.5
    assert not torch.equal(encoder(Inputs(other, mask, inputs.cluster_probs, inputs.sides, inputs.masks)), plain)


# --- in the trainer -----------------------------------------------------------------------------------------------


def small(name: str, **changes: Any) -> BaselineConfig:
    model = samples.config()
    sizes: dict[str, Any] = {"name": name, "width": 8} if name == "sluice" else {"name": name, "hidden": (8,)}
    settings: dict[str, Any] = {
        "architecture": TypeAdapter(ArchitectureConfig).validate_python(sizes),
        "inputs": model.inputs,
        "tasks": model.tasks,
        "encoder": InputEncoderConfig(bins=4, embedding=2, width=16),
        **changes,
    }
    return BaselineConfig(**settings)


@pytest.fixture(scope="module")
def tables() -> tuple[Any, Any]:
    return samples.table(192, 0), samples.table(96, 1)


def ready(config: BaselineConfig, train: Any) -> Baseline:
    torch.manual_seed(0)
    model = build_baseline(config)
    model.fit_inputs(train.inputs)
    for task in config.tasks:
        if task.kind == "regression":
            labels = train.targets.values[task.name][train.targets.mask[task.name]]
            model.set_target_scale(task.name, labels.mean(0), labels.std(0))
    return model


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_trains_in_the_models_trainer(name: str, tables: tuple[Any, Any]) -> None:
    train, valid = tables
    model = ready(small(name), train)
    encoder = model.experts.encoder.weight.detach().clone()
    settings = samples.training(phase1_epochs=3, phase2_epochs=1, learning_rate=1e-2, batch_size_cpu=64)
    result = fit(model, train, valid, settings, progress=False)
    losses = [report.loss for report in result.history if report.phase == 1]
    assert losses[-1] < losses[0]
    assert not result.skipped
    assert not torch.equal(model.experts.encoder.weight, encoder)
    report = result.history[-1]
    for shares in report.gates.values():
        assert tuple(shares) == model.expert_names
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
    assert all(parameter.requires_grad for parameter in model.parameters())
    predicted = model.predict(valid.inputs)
    assert set(predicted) == set(samples.TASKS)
    assert all(bool(values.isfinite().all()) for values in predicted.values())


def test_phase_2_trains_the_towers_alone(tables: tuple[Any, Any]) -> None:
    train, valid = tables
    before, after = ready(small("ple"), train), ready(small("ple"), train)
    settings = {"phase1_epochs": 1, "learning_rate": 1e-2}
    fit(before, train, valid, samples.training(**settings, phase2_epochs=0), progress=False)
    fit(after, train, valid, samples.training(**settings, phase2_epochs=3), progress=False)
    changed = {
        name.split(".")[0]
        for name, value in after.state_dict().items()
        if not torch.equal(value, before.state_dict()[name])
    }
    assert "tower" in changed
    assert "experts" not in changed


@pytest.mark.parametrize(
    "changes",
    [
        {"adatt": AdaTTConfig(warmup_epochs=0, freeze_epoch=2, every=1)},
        {"adatt": AdaTTConfig(warmup_epochs=0, freeze_epoch=2, every=1, affinity="parameters")},
        {"weighting": WeightingConfig(conflict="upgrad")},
        {"weighting": WeightingConfig(strategy="gradnorm")},
    ],
    ids=["adatt", "adatt parameters", "conflict", "gradnorm"],
)
def test_what_compares_tasks_works_on_baselines(changes: dict[str, Any], tables: tuple[Any, Any]) -> None:
    model, same_weights = compared("ple", changes, tables)
    assert not same_weights
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_tasks_that_share_nothing_have_no_conflict(tables: tuple[Any, Any]) -> None:
    assert compared("single_task", {"weighting": WeightingConfig(conflict="upgrad")}, tables)[1]


def compared(name: str, changes: dict[str, Any], tables: tuple[Any, Any]) -> tuple[Baseline, bool]:
    """A baseline trained with some settings, and whether it has the weights that it gets without them."""
    train, valid = tables
    settings = samples.training(phase1_epochs=2, phase2_epochs=0)
    model, plain = ready(small(name, **changes), train), ready(small(name), train)
    result = fit(model, train, valid, settings, progress=False)
    fit(plain, train, valid, settings, progress=False)
    assert not result.skipped
    weights = dict(plain.named_parameters())
    return model, all(torch.equal(value, weights[key]) for key, value in model.named_parameters())


def test_rates_are_those_of_the_encoder_and_the_network(tables: tuple[Any, Any]) -> None:
    train, valid = tables
    model = ready(small("mmoe"), train)
    before = model.experts.encoder.weight.detach().clone()
    settings = samples.training(phase1_epochs=1, phase2_epochs=0, weight_decay=0.0, expert_rates={"encoder": 1e-9})
    fit(model, train, valid, settings, progress=False)
    torch.testing.assert_close(model.experts.encoder.weight, before, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="unknown expert 'bottom'"):
        fit(model, train, valid, samples.training(expert_rates={"bottom": 0.1}), progress=False)


def test_frozen_parts_survive_a_checkpoint() -> None:
    model = build_baseline(small("ple"))
    model.freeze_gates()
    other = build_baseline(small("ple"))
    other.load_state_dict(model.state_dict())
    gates = other.experts.network.gate_parameters()
    assert gates
    assert not any(parameter.requires_grad for parameter in gates)
    assert other.experts.encoder.weight.requires_grad
    model.freeze_shared()
    other.load_state_dict(model.state_dict())
    assert not any(parameter.requires_grad for parameter in other.experts.parameters())
    assert all(parameter.requires_grad for parameter in other.tower.parameters())


# --- every setting ------------------------------------------------------------------------------------------------

BASE: dict[str, dict[str, Any]] = {
    "single_task": {},
    "shared_bottom": {},
    "asymmetric": {"relations": (Relation(source="churn", target="retention", kind="inverse"),)},
    "customized": {},
    "cross_stitch": {"own": 0.5},
    "sluice": {"own": 0.5, "orthogonality": 0.5, "subspaces": 4, "layers": 3, "width": 32},
    "mmoe": {"experts": 3},
    "ml_mmoe": {"experts": 3, "levels": 3},
    "cgc": {"specific": 2, "shared": 2},
    "ple": {"specific": 2, "shared": 2, "levels": 3},
}
SWITCHES = [
    (name, {key: value})
    for name, settings in BASE.items()
    for key, value in {**settings, "dropout": 0.5, **({} if name == "sluice" else {"hidden": (16,)})}.items()
]


def one_step(config: BaselineConfig, table: Any) -> tuple[float, int]:
    """Loss and number of parameters of a fresh baseline, in training."""
    model = ready(config, table)
    model.train()
    outputs = model(table.inputs)
    result = MultiTaskLoss(config)(outputs, table.targets, model)
    return result.total.item(), sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "change"), SWITCHES, ids=[f"{n}.{next(iter(c))}" for n, c in SWITCHES])
def test_every_setting_of_an_architecture_changes_a_step(
    name: str, change: dict[str, Any], tables: tuple[Any, Any]
) -> None:
    base = small(name)
    changed = type(base.architecture)(**{**base.architecture.model_dump(), **change})
    assert changed != base.architecture
    assert one_step(base, tables[0]) != one_step(base.model_copy(update={"architecture": changed}), tables[0])


@pytest.mark.parametrize("change", [{"bins": 5}, {"embedding": 3}, {"patch": 5}, {"fit_rows": 50}, {"width": 12}])
def test_every_setting_of_the_encoder_changes_a_step(change: dict[str, Any], tables: tuple[Any, Any]) -> None:
    base = small("mmoe")
    changed = base.encoder.model_copy(update=change)
    assert one_step(base, tables[0]) != one_step(base.model_copy(update={"encoder": changed}), tables[0])


def test_settings_survive_json_and_unknown_ones_are_refused() -> None:
    for name in BASELINES:
        config = small(name)
        assert BaselineConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValidationError, match="did you mean 'specific'"):
        PLEConfig.from_dict({"name": "ple", "specifics": 3})
    with pytest.raises(ValidationError, match="no multiple of 4 subspaces"):
        SluiceConfig(width=6, subspaces=4)
    misspelt = Relation(source="chrun", target="ltv", kind="feature")
    with pytest.raises(ValidationError, match="unknown task"):
        small("asymmetric", architecture=AsymmetricConfig(relations=(misspelt,)))
