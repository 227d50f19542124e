import json

import pytest
from pydantic import ValidationError

from ple_model.config import AdaTTConfig, InputConfig, ModelConfig, TransformerBranchConfig, WeightingConfig


def test_survives_json(model_config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(model_config.to_dict()))) == model_config


@pytest.mark.parametrize(
    ("section", "typed", "nearest"),
    [
        ("basket", "routng", "routing"),
        ("gate", "entropy_wieght", "entropy_weight"),
        ("weighting", "stratgy", "strategy"),
        ("transfer", "strenght", "strength"),
        ("tower", "drop_out", "dropout"),
    ],
)
def test_unknown_setting_names_the_nearest(model_config: ModelConfig, section: str, typed: str, nearest: str) -> None:
    data = model_config.to_dict()
    data[section] = {**data[section], typed: 1}
    with pytest.raises(ValidationError, match=f"unknown setting '{typed}'.*did you mean '{nearest}'"):
        ModelConfig.from_dict(data)


def test_unknown_setting_of_an_expert_and_of_the_model(model_config: ModelConfig) -> None:
    data = model_config.to_dict()
    with pytest.raises(ValidationError, match="did you mean 'embedding'"):
        ModelConfig.from_dict({**data, "experts": [{"name": "deepfm", "embeding": 4}]})
    with pytest.raises(ValidationError, match="did you mean 'experts'"):
        ModelConfig.from_dict({**data, "expert": []})
    with pytest.raises(ValidationError, match=r"did you mean 'deepfm'.*'unified_hgcn', 'perslay', 'deepfm'"):
        ModelConfig.from_dict({**data, "experts": [{"name": "deepfn"}]})


def test_settings_are_frozen(model_config: ModelConfig) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        model_config.gate.prior_bias = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"present": (0, 0)}, "ascending"),
        ({"present": (3, 1)}, "ascending"),
        ({"present": (12,)}, r"\[0, 12\)"),
        ({"normalised": 13}, "exceeds"),
        ({"sides": [{"name": "txn_seq", "shape": (5, 4), "channels": (4,)}]}, r"\[0, 4\)"),
        ({"sides": [{"name": "txn_seq", "shape": (5, 4), "channels": ()}]}, "empty"),
        ({"sides": [{"name": "txn_seq", "shape": (0, 4)}]}, "without places"),
        ({"sides": [{"name": "hierarchy", "shape": (20,)}] * 2}, "twice"),
        ({"columns": ("a", "a"), "normalised": 1, "present": (0,)}, "twice"),
    ],
)
def test_impossible_inputs_are_refused(input_config: InputConfig, change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InputConfig.from_dict({**input_config.to_dict(), **change})


def test_present_columns_split_at_the_normalised_ones(input_config: InputConfig) -> None:
    assert input_config.present_normalised == (0, 1, 2, 3, 5, 6)
    assert input_config.present_raw == (8, 9, 11)
    assert input_config.present_of("merchant", "epidemic", "raw_power_law") == (2, 3)


def test_side_inputs_by_name(input_config: InputConfig) -> None:
    assert input_config.side("txn_seq").present_channels == (0, 1, 3)
    assert input_config.side("session_seq").present_channels == (0, 1, 2)
    assert input_config.has("hierarchy", "txn_seq")
    fewer = InputConfig.from_dict({**input_config.to_dict(), "sides": []})
    assert not fewer.has("hierarchy")
    with pytest.raises(KeyError, match="no side input 'hierarchy'"):
        fewer.side("hierarchy")


def test_names_given_twice_and_bad_bounds_are_refused(model_config: ModelConfig) -> None:
    data = model_config.to_dict()
    with pytest.raises(ValidationError, match="tasks named twice: ctr"):
        ModelConfig.from_dict({**data, "tasks": [data["tasks"][0], *data["tasks"]]})
    with pytest.raises(ValidationError, match="experts named twice: deepfm"):
        ModelConfig.from_dict({**data, "experts": [{"name": "deepfm"}, {"name": "deepfm"}]})
    with pytest.raises(ValidationError, match="not a multiple"):
        TransformerBranchConfig(model_width=30, heads=4)
    with pytest.raises(ValidationError, match="freeze_epoch 5 is not behind"):
        AdaTTConfig(warmup_epochs=5, freeze_epoch=5)
    with pytest.raises(ValidationError, match="lower bound"):
        WeightingConfig(precision=(1.0, 0.5))


def test_unknown_task_names_the_nearest(model_config: ModelConfig) -> None:
    assert model_config.task("ltv").loss == "huber"
    with pytest.raises(KeyError, match="did you mean 'churn'"):
        model_config.task("chrn")
