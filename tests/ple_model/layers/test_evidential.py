import pytest
import torch
from scipy import stats
from torch.distributions import Dirichlet, kl_divergence

from ple_model.config import EvidentialConfig, TaskConfig
from ple_model.inputs import Targets
from ple_model.layers.evidential import DirichletHeads, EvidentialHeads, dirichlet_kl, dirichlet_nll, nig_nll

WIDTH, ROWS = 8, 40
TASKS = (
    TaskConfig(name="stage", group="g", kind="multiclass", loss="nll", out=6),
    TaskConfig(name="value", group="g", kind="regression", loss="mse"),
    TaskConfig(name="churn", group="g", kind="binary", loss="focal"),
    TaskConfig(name="brand", group="g", kind="contrastive", loss="infonce", out=16, candidates=50),
    TaskConfig(name="channel", group="g", kind="multiclass", loss="nll", out=3),
    TaskConfig(name="lifts", group="g", kind="regression", loss="mse", out=4),
    TaskConfig(name="click", group="g", kind="binary", loss="focal"),
)
NAMES = [task.name for task in TASKS]


def _heads(**settings: object) -> EvidentialHeads:
    return EvidentialHeads(EvidentialConfig.from_dict({"buckets": 16, **settings}), TASKS, WIDTH)


def _targets(rows: int = ROWS) -> Targets:
    brands = torch.randint(0, 50, (rows, 3))
    brands[::2, 1:] = -1
    values = {
        "stage": torch.randint(0, 6, (rows,)),
        "value": torch.randn(rows),
        "churn": torch.randint(0, 2, (rows,)).float(),
        "brand": brands,
        "channel": torch.randint(0, 3, (rows,)),
        "lifts": torch.randn(rows, 4),
        "click": torch.randint(0, 2, (rows,)).float(),
    }
    return Targets(values, {name: torch.rand(rows) < 0.7 for name in values})


def _as_it_is(_: str, label: torch.Tensor) -> torch.Tensor:
    return label


def _alpha(*shape: int) -> torch.Tensor:
    return 1.0 + torch.distributions.Gamma(0.7, 0.2).sample(shape).double()


# --- likelihoods and divergences -------------------------------------------------------------------------------------


def test_normal_inverse_gamma_is_a_student_t() -> None:
    gamma, y = torch.randn(2, 50, dtype=torch.float64)
    nu, alpha, beta = _alpha(3, 50) - torch.tensor([[1.0], [0.0], [1.0]])
    scale = (beta * (1 + nu) / (nu * alpha)).sqrt()
    want = -stats.t.logpdf(y.numpy(), 2 * alpha.numpy(), gamma.numpy(), scale.numpy())
    torch.testing.assert_close(nig_nll(gamma, nu, alpha, beta, y), torch.from_numpy(want))


def test_normal_inverse_gamma_rises_with_the_error() -> None:
    one = torch.tensor(1.0)
    losses = nig_nll(0 * one, one, 2 * one, one, torch.linspace(0, 30, 40))
    assert (losses.diff() > 0).all()


@pytest.mark.parametrize("classes", [2, 7])
def test_dirichlet_likelihood_is_that_of_one_draw(classes: int) -> None:
    alpha = _alpha(20, classes)
    labels = torch.randint(0, classes, (20, 1))
    got = dirichlet_nll(alpha, labels)
    for row in range(20):
        counts = torch.nn.functional.one_hot(labels[row, 0], classes).numpy()
        want = -stats.dirichlet_multinomial.logpmf(counts, alpha[row].numpy(), 1)
        assert got[row].item() == pytest.approx(want)
    if classes == 2:
        beta = stats.betabinom.logpmf(labels[:, 0].numpy(), 1, alpha[:, 1].numpy(), alpha[:, 0].numpy())
        torch.testing.assert_close(got, torch.from_numpy(-beta))


def test_several_labels_count_in_the_mean_and_padding_does_not() -> None:
    alpha = _alpha(5, 4)
    both = dirichlet_nll(alpha, torch.tensor([[1, 3, -1]]).expand(5, -1))
    each = [dirichlet_nll(alpha, torch.full((5, 1), k)) for k in (1, 3)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    assert torch.equal(dirichlet_nll(alpha, torch.full((5, 2), -1)), torch.zeros(5).double())


@pytest.mark.parametrize("classes", [2, 3, 28])
@pytest.mark.parametrize("padding", [0, 4])
def test_divergence_equals_that_of_torch(classes: int, padding: int) -> None:
    alpha = _alpha(30, classes)
    want = kl_divergence(Dirichlet(alpha), Dirichlet(torch.ones_like(alpha)))
    padded = torch.nn.functional.pad(alpha, (0, padding), value=1.0)
    torch.testing.assert_close(dirichlet_kl(padded, torch.full((30,), float(classes)).double()), want)
    if classes == 2:
        flat = torch.distributions.Beta(torch.ones(30).double(), torch.ones(30).double())
        torch.testing.assert_close(want, kl_divergence(torch.distributions.Beta(alpha[:, 0], alpha[:, 1]), flat))


@pytest.mark.parametrize("classes", [2, 28])
def test_divergence_is_zero_without_evidence_and_accurate_in_float32(classes: int) -> None:
    count = torch.tensor([float(classes)])
    torch.testing.assert_close(dirichlet_kl(torch.ones(1, classes), count), torch.zeros(1), atol=2e-5, rtol=0)
    alpha = _alpha(200, classes) * 20
    exact = dirichlet_kl(alpha, count.double())
    torch.testing.assert_close(dirichlet_kl(alpha.float(), count).double(), exact, atol=1e-3, rtol=1e-4)


def test_gradients_of_the_divergence() -> None:
    count = torch.full((3,), 5.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: dirichlet_kl(a, count), (_alpha(3, 5).requires_grad_(),))
    alpha = _alpha(3, 5).requires_grad_()
    value = dirichlet_kl(alpha, count)
    (batched,) = torch.autograd.grad(value, alpha, torch.eye(3).double(), retain_graph=True, is_grads_batched=True)
    each = [torch.autograd.grad(value[i], alpha, retain_graph=True)[0] for i in range(3)]
    torch.testing.assert_close(batched, torch.stack(each))


def test_evidence_of_the_label_is_not_punished() -> None:
    heads = DirichletHeads([4], WIDTH)
    alpha = torch.tensor([[[9.0, 1.0, 1.0, 1.0], [9.0, 1.0, 1.0, 5.0]]], requires_grad=True)
    label = torch.zeros(1, 2, 1, dtype=torch.int64)
    penalty = heads.penalty(alpha, label)
    assert penalty[0, 0].abs() < 1e-5
    assert penalty[0, 1] > 0.5
    (gradient,) = torch.autograd.grad(penalty.sum(), alpha)
    assert (gradient[..., 0] == 0).all()
    assert gradient[0, 1, 3] > 0


# --- heads of several kinds ------------------------------------------------------------------------------------------


def test_uncertainty_is_a_share_in_the_order_of_the_tasks() -> None:
    heads, vectors = _heads(), torch.randn(ROWS, len(TASKS), WIDTH)
    u = heads.uncertainty(heads(vectors))
    assert u.shape == (ROWS, len(TASKS))
    assert ((u > 0) & (u < 1)).all()
    for i in range(len(TASKS)):
        other = vectors.clone()
        other[:, i] += 1.0
        changed = (heads.uncertainty(heads(other)) != u).any(0)
        assert changed.tolist() == [j == i for j in range(len(TASKS))]


def test_uncertainty_is_one_without_evidence_and_falls_with_it() -> None:
    heads, vectors = _heads(), torch.zeros(1, len(TASKS), WIDTH)
    by_bias = []
    for evidence in (-200.0, 0.0, 200.0):
        for head in heads.heads.values():
            torch.nn.init.constant_(head.linear.bias, evidence)
        kinds = heads(vectors)
        kinds["regression"] = kinds["regression"].clone()
        kinds["regression"][..., 3] = 1e-2  # β, the spread, is no evidence
        by_bias.append(heads.uncertainty(kinds)[0])
    torch.testing.assert_close(by_bias[0], torch.ones(len(TASKS)), atol=1e-3, rtol=0)
    assert ((by_bias[0] > by_bias[1]) & (by_bias[1] > by_bias[2])).all()
    assert by_bias[2].max() < 0.01


def test_loss_equals_a_loop_over_rows_and_tasks() -> None:
    heads, vectors, targets = _heads(kl_weight=0.3, kl_epochs=4, weight=0.5), torch.randn(ROWS, 7, WIDTH), _targets()
    heads.begin_epoch(2)
    got = heads.loss(heads(vectors), targets, _as_it_is)
    for t, task in enumerate(TASKS):
        stack, place = next((s, members.index(t)) for s, members in heads.members.items() if t in members)
        head = heads.heads[stack]
        weight, bias = head.linear.weight[place].double(), head.linear.bias[place, 0].double()
        rows = []
        for row in range(ROWS):
            if not targets.mask[task.name][row]:
                continue
            raw, label = vectors[row, t].double() @ weight + bias, targets.values[task.name][row]
            if task.kind == "regression":
                rows.append(_normal_by_hand(raw.view(-1, 4)[: task.out], label.double().view(-1)))
            else:
                classes = {"stage": 6, "channel": 3, "brand": 16}.get(task.name, 2)
                rows.append(_dirichlet_by_hand(raw[:classes], label.long().view(-1), classes))
        want = 0.5 * torch.stack([nll + 0.3 * 0.5 * penalty for nll, penalty in rows]).mean()
        torch.testing.assert_close(got[t].double(), want, atol=1e-5, rtol=1e-5)


def _normal_by_hand(raw: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    nlls, penalties = [], []
    for (gamma, *others), y in zip(raw, label, strict=True):
        nu, alpha, beta = (torch.log1p(x.exp()) for x in others)
        alpha = alpha + 1
        scale = (beta * (1 + nu) / (nu * alpha)).sqrt()
        nlls.append(-torch.distributions.StudentT(2 * alpha, gamma, scale).log_prob(y))
        penalties.append((y - gamma).abs() * (2 * nu + alpha))
    return torch.stack(nlls).mean(), torch.stack(penalties).mean()


def _dirichlet_by_hand(raw: torch.Tensor, label: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    alpha = 1 + torch.log1p(raw.exp())
    hits = [int(y) % classes for y in label if y >= 0]
    nll = torch.stack([-(alpha / alpha.sum())[k].log() for k in hits]).mean()
    others = alpha.clone()
    others[hits] = 1.0
    return nll, kl_divergence(Dirichlet(others), Dirichlet(torch.ones(classes).double()))


def test_masked_labels_are_never_read_and_missing_tasks_cost_nothing() -> None:
    heads, vectors, targets = _heads(), torch.randn(ROWS, 7, WIDTH, requires_grad=True), _targets()
    heads.begin_epoch(10)
    before = heads.loss(heads(vectors), targets, _as_it_is)
    for name, mask in targets.mask.items():
        value = targets.values[name]
        targets.values[name][~mask] = torch.nan if value.is_floating_point() else 10_000
    assert torch.equal(heads.loss(heads(vectors), targets, _as_it_is), before)
    for name in ("stage", "lifts"):
        del targets.values[name], targets.mask[name]
    targets.mask["churn"][:] = False
    losses = heads.loss(heads(vectors), targets, _as_it_is)
    assert [n for n, loss in zip(NAMES, losses, strict=True) if loss == 0] == ["stage", "churn", "lifts"]
    losses.sum().backward()
    assert vectors.grad is not None
    read = [n for n, g in zip(NAMES, vectors.grad.unbind(1), strict=True) if (g != 0).any()]
    assert read == ["value", "brand", "channel", "click"]


@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_losses_and_gradients_are_finite(size: float) -> None:
    heads, targets = _heads(), _targets()
    heads.begin_epoch(10)
    targets.values["value"] *= 100.0
    vectors = (size * torch.randn(ROWS, 7, WIDTH)).requires_grad_()
    losses = heads.loss(heads(vectors), targets, _as_it_is)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in heads.parameters())


def test_penalty_rises_over_the_first_epochs_and_its_share_survives_a_checkpoint() -> None:
    heads, vectors, targets = _heads(kl_weight=1.0, kl_epochs=4), torch.randn(ROWS, 7, WIDTH), _targets()
    losses = []
    for epoch in (0, 2, 4, 9):
        heads.begin_epoch(epoch)
        losses.append(heads.loss(heads(vectors), targets, _as_it_is))
    assert ((losses[1] > losses[0]) & (losses[2] > losses[1])).all()
    assert torch.equal(losses[3], losses[2])
    torch.testing.assert_close(losses[1], (losses[0] + losses[2]) / 2)
    again = _heads(kl_weight=1.0, kl_epochs=4)
    again.load_state_dict(heads.state_dict())
    assert torch.equal(again.loss(again(vectors), targets, _as_it_is), losses[3])


def test_evidence_stays_in_float32_under_autocast() -> None:
    heads, vectors = _heads(), torch.randn(ROWS, 7, WIDTH)
    before = heads.uncertainty(heads(vectors))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(heads.uncertainty(heads(vectors)), before)


def test_learns_what_is_known_and_what_is_not() -> None:
    """Half of the rows have labels that follow from the vector, the others have labels of chance."""
    torch.manual_seed(1)
    rows = 300
    x = torch.randn(rows, 1, WIDTH)
    known = x[:, 0, 0] > 0
    vectors = torch.cat([x.expand(-1, 2, -1), known.float().view(-1, 1, 1).expand(-1, 2, -1)], dim=-1)
    interaction = (x[:, 0, 1] * known).view(-1, 1, 1).expand(-1, 2, -1)
    vectors = torch.cat([vectors, interaction], dim=-1)
    binary = torch.where(known, (x[:, 0, 1] > 0).float(), torch.randint(0, 2, (rows,)).float())
    value = torch.where(known, x[:, 0, 1], torch.randn(rows))
    tasks = (TASKS[2], TASKS[1])
    heads = EvidentialHeads(EvidentialConfig(weight=1.0, kl_weight=0.05), tasks, vectors.shape[-1])
    heads.begin_epoch(10)
    targets = Targets({"churn": binary, "value": value}, {n: torch.ones(rows).bool() for n in ("churn", "value")})
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        heads.loss(heads(vectors), targets, _as_it_is).sum().backward()
        optimizer.step()
    u = heads.uncertainty(heads(vectors))
    sure = known & (x[:, 0, 1].abs() > 0.7)
    assert (u[sure].mean(0) < u[~known].mean(0) - 0.1).all()
