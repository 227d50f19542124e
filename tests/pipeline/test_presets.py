"""Presets are whole settings, and a setting given by hand replaces one of theirs."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from feature_assets.labels import every_task
from pipeline.presets import PRESETS
from pipeline.settings import Settings
from pipeline.training.model import network_for
from ple_model.config import NetworkConfig
from ple_model.tasks import TaskConfig
from ple_model.training.config import TrainingConfig


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid(name: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, preset=name)
    assert settings.preset == name
    assert Settings.model_validate(settings.model_dump()) == settings


def test_the_reference_has_the_numbers_of_the_specification(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, preset="reference")
    assert settings.training == TrainingConfig()
    assert settings.network.model_copy(update={"experts": NetworkConfig().experts}) == NetworkConfig()
    assert settings.losses == "task"


def test_the_default_keeps_gates_over_at_least_three_experts(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert len(settings.network.experts) >= 3
    assert settings.network.members > 1


def test_a_setting_given_by_hand_replaces_that_of_the_preset(tmp_path: Path) -> None:
    given = {"home": tmp_path, "network": {"members": 3}, "training": {"phase1_epochs": 2}}
    settings = Settings.model_validate(given)
    default = Settings(home=tmp_path)
    assert settings.network == default.network.model_copy(update={"members": 3})
    assert settings.training == default.training.model_copy(update={"phase1_epochs": 2})


def test_an_unknown_preset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="did you mean 'reference'"):
        Settings(home=tmp_path, preset="referense")


def test_plain_losses_have_weight_one_and_those_of_the_tasks_their_own(tmp_path: Path) -> None:
    names = [task.name for task in every_task()]

    def tasks(losses: str) -> dict[str, TaskConfig]:
        settings = Settings.model_validate({"home": tmp_path, "losses": losses})
        return {task.name: task for task in network_for(settings, names, {})["tasks"]}

    plain, own = tasks("plain"), tasks("task")
    assert {task.weight for task in plain.values()} == {1.0}
    assert plain["churn"].loss == "log_loss"
    assert plain["churn"].focal_gamma is None
    assert plain["ltv"].loss == "mse"
    assert (own["churn"].loss, own["churn"].weight, own["ltv"].loss) == ("focal", 1.2, "huber")
