import pytest
import torch

from ple_model.config import Relation, TransferConfig
from ple_model.layers.logit_transfer import LogitTransfer, transferred
from tests.ple_model.catalogue import RELATIONS, default_tasks, select


def test_adds_alpha_times_the_projected_prediction() -> None:
    transfer = LogitTransfer(TransferConfig(strength=0.5, relations=RELATIONS), default_tasks(), width=6)
    vector, logits = torch.randn(4, 6), torch.randn(4, 12)
    projected = transfer.project["nba__spending_category"](logits)
    got = transfer("spending_category", vector, {"nba": logits})
    torch.testing.assert_close(got, vector + 0.5 * projected)
    assert torch.equal(transfer("nba", vector, {}), vector)


def test_kinds_hand_on_what_they_say() -> None:
    z = torch.tensor([-80.0, -1.0, 0.0, 3.0, 80.0])
    assert torch.equal(transferred(z, "feature"), z)
    torch.testing.assert_close(transferred(z, "inverse").sigmoid(), 1 - z.sigmoid())
    torch.testing.assert_close(transferred(z[1:], "sequential"), z[1:].sigmoid().log())
    assert bool(transferred(z, "sequential").isfinite().all())


def test_levels_put_sources_first() -> None:
    transfer = LogitTransfer(TransferConfig(relations=RELATIONS), default_tasks(), width=4)
    place = {name: i for i, level in enumerate(transfer.levels) for name in level}
    assert len(place) == 16
    assert all(place[r.source] < place[r.target] for r in RELATIONS)


def test_a_source_that_is_off_is_dropped_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="ctr → cvr dropped"):
        transfer = LogitTransfer(
            TransferConfig(relations=(Relation(source="ctr", target="cvr", kind="sequential"),)),
            select(["cvr", "ltv"]),
            width=4,
        )
    assert transfer.levels == (("cvr", "ltv"),)
    assert len(transfer.project) == 0


def test_two_sources_of_one_target_add_up() -> None:
    relations = (
        Relation(source="ctr", target="ltv", kind="feature"),
        Relation(source="churn", target="ltv", kind="inverse"),
    )
    transfer = LogitTransfer(TransferConfig(relations=relations), default_tasks(), width=4)
    vector, a, b = torch.randn(3, 4), torch.randn(3, 1), torch.randn(3, 1)
    want = vector + 0.5 * (transfer.project["ctr__ltv"](a) + transfer.project["churn__ltv"](-b))
    torch.testing.assert_close(transfer("ltv", vector, {"ctr": a, "churn": b}), want)
