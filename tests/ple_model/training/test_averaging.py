import pytest
import torch
from torch import nn

from ple_model.training.averaging import WeightAverage
from ple_model.training.data import digest_of_tensors
from ple_model.training.trainer import fit
from tests.ple_model import samples


def test_it_is_the_weighted_sum_of_all_steps() -> None:
    module, decay = nn.Linear(3, 2), 0.6
    average = WeightAverage(module, decay)
    values, weights = [module.weight.detach().clone()], [1.0]
    for t in range(1, 8):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        average.step()
        used = min(decay, (1 + t) / (10 + t))
        weights = [weight * used for weight in weights] + [1 - used]
        values.append(module.weight.detach().clone())
    want = sum(weight * value for weight, value in zip(weights, values, strict=True))
    assert sum(weights) == pytest.approx(1)
    own = module.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(module.weight.detach(), want)
    assert torch.equal(module.weight.detach(), own)


def test_it_restarts_where_the_parameters_are() -> None:
    module = nn.Linear(2, 2)
    average = WeightAverage(module, 0.9)
    average.step()
    nn.init.ones_(module.weight)
    average.restart()
    assert average.steps == 0
    assert bool((average.average["weight"] == 1).all())


def test_what_is_validated_and_kept_is_the_average() -> None:
    def run(**settings: object) -> tuple[str, list[float]]:
        model, train, valid = samples.ready(128)
        result = fit(
            model, train, valid, samples.training(phase1_epochs=2, phase2_epochs=0, **settings), progress=False
        )
        return digest_of_tensors(model.state_dict()), [report.loss for report in result.history]

    (plain, losses), (averaged, same_losses) = run(), run(average=0.9)
    assert plain != averaged
    assert losses == same_losses, "training itself is not touched"
