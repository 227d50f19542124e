import pytest
import torch
from torch.nn import functional as F

from ple_model.layers.members import MemberLinear, MemberScale, by_member, repeated


@pytest.mark.parametrize("first", [True, False])
def test_a_member_is_its_own_linear_layer(first: bool) -> None:
    layer = MemberLinear(3, 5, 4, first=first)
    torch.nn.init.normal_(layer.scale_out)
    x = torch.randn(7, 5)
    found = layer(x)
    for m in range(3):
        own = layer.scale_out[m, 0].unsqueeze(1) * layer.weight * layer.scale_in[m, 0]  # diag(s) W diag(r)
        torch.testing.assert_close(found[m], F.linear(x, own, layer.bias[m, 0]))
    torch.testing.assert_close(layer(x.expand(3, -1, -1)), found)


def test_members_begin_at_random_signs_and_otherwise_alike() -> None:
    scale = MemberScale(4, 50).scale
    assert set(scale.flatten().tolist()) == {-1.0, 1.0}
    assert len({tuple(row) for row in scale.flatten(1).tolist()}) == 4
    assert set(MemberLinear(4, 5, 6, first=True).scale_in.flatten().tolist()) == {-1.0, 1.0}
    assert set(MemberLinear(4, 5, 6).scale_in.flatten().tolist()) == {1.0}


def test_rows_stand_member_after_member() -> None:
    x = torch.randn(5, 2)
    assert torch.equal(by_member(repeated(x, 3), 3), x.expand(3, -1, -1))
    assert repeated(x, 1) is x
    scaled = MemberScale(3, 2)
    torch.testing.assert_close(by_member(scaled(x), 3), x * scaled.scale)
