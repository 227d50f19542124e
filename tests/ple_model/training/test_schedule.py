"""The learning rate: warm-up, restarts, phases."""

from itertools import pairwise

import pytest
import torch

from ple_model.training.config import TrainingConfig
from ple_model.training.schedule import rate_factor

STEPS = 4


def test_warm_up_is_linear_from_a_tenth_to_one() -> None:
    config = TrainingConfig()
    factors = [rate_factor(config, 1, step, STEPS) for step in range(5 * STEPS + 1)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[-1] == pytest.approx(1.0)
    differences = {round(b - a, 9) for a, b in pairwise(factors)}
    assert differences == {round(0.9 / (5 * STEPS), 9)}


def test_phase_1_after_warm_up_is_torchs_cosine_with_warm_restarts() -> None:
    config = TrainingConfig(warmup_epochs=2, restart_epochs=3, restart_factor=2)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3 * STEPS, T_mult=2)
    for step in range(21 * STEPS + 2):  # three cosines: 3 + 6 + 12 epochs
        assert rate_factor(config, 1, 2 * STEPS + step, STEPS) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-12
        )
        optimizer.step()
        oracle.step()


def test_phase_2_counts_its_own_steps_and_falls_once() -> None:
    config = TrainingConfig()
    factors = [rate_factor(config, 2, step, STEPS) for step in range(8 * STEPS + 1)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[2 * STEPS] == pytest.approx(1.0)
    falling = factors[2 * STEPS :]
    assert all(a > b for a, b in pairwise(falling))
    assert falling[-1] == pytest.approx(0.0, abs=1e-12)


def test_a_phase_that_is_all_warm_up_ends_at_its_top() -> None:
    config = TrainingConfig(phase2_epochs=2, phase2_warmup_epochs=2)
    assert rate_factor(config, 2, 2 * STEPS - 1, STEPS) < 1.0


def test_defaults_are_those_of_the_specification() -> None:
    config = TrainingConfig()
    assert (config.phase1_epochs, config.phase2_epochs, config.max_epochs, config.patience) == (15, 8, 100, 7)
    assert (config.learning_rate, config.weight_decay, config.clip_norm) == (5e-4, 0.01, 5.0)
    assert (config.batch_size_gpu, config.batch_size_cpu, config.precision) == (16_384, 1_024, "auto")


def test_unknown_keys_and_impossible_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        TrainingConfig.from_dict({"learning_rat": 1e-3})
    with pytest.raises(ValueError, match="phase1_epochs \\+ phase2_epochs = 108"):
        TrainingConfig(phase1_epochs=100)
    with pytest.raises(ValueError, match="must be above 0"):
        TrainingConfig(expert_rates={"deepfm": 0.0})
