import pytest
from pydantic import ValidationError

from ple_model.config import ModelConfig, TaskConfig
from ple_model.tasks import Relation
from ple_model.tasks.relations import active_relations, topological_levels
from tests.ple_model.catalogue import RELATIONS, default_tasks, select


def test_tasks_are_required(model_config: ModelConfig) -> None:
    data = model_config.to_dict()
    del data["tasks"]
    with pytest.raises(ValidationError, match="tasks"):
        ModelConfig.from_dict(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "nll"}, "does not fit kind 'binary'"),
        ({"out": 2}, "out = 1"),
        ({"temperature": 0.1}, "'temperature' is read by loss 'infonce' only"),
        ({"huber_delta": 1.0}, "'huber_delta' is read by loss 'huber' only"),
        ({"focal_gama": 1.0}, "did you mean 'focal_gamma'"),
    ],
)
def test_impossible_tasks_are_refused(change: dict, message: str) -> None:
    task = {"name": "x", "group": "g", "kind": "binary", "loss": "focal"}
    with pytest.raises(ValidationError, match=message):
        TaskConfig.from_dict({**task, **change})


@pytest.mark.parametrize("history", [(0, 3), (1, 1), (-2, 0)])
def test_a_history_names_candidates_once(history: tuple[int, ...]) -> None:
    task = {"name": "x", "group": "g", "kind": "contrastive", "loss": "infonce", "out": 4, "candidates": 3}
    assert TaskConfig.from_dict({**task, "history": (-1, 2, 0, -1)}).history == (-1, 2, 0, -1)
    assert TaskConfig.from_dict(task).history == ()
    with pytest.raises(ValidationError, match="history names candidates below 3, each once"):
        TaskConfig.from_dict({**task, "history": history})


def test_a_preferred_expert_must_be_one_of_the_pool(model_config: ModelConfig) -> None:
    data = model_config.to_dict()
    data["tasks"][0]["experts"] = ["temproal"]
    with pytest.raises(ValidationError, match="task 'ctr' prefers unknown expert 'temproal'; did you mean 'temporal'"):
        ModelConfig.from_dict(data)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ValidationError, match="unknown kind of task 'regresion'; did you mean 'regression'"):
        TaskConfig(name="x", group="g", kind="regresion", loss="mse")


def test_a_new_task_is_an_entry_of_the_configuration(model_config: ModelConfig) -> None:
    from ple_model.model import PLEClusterAdaTT

    new = TaskConfig(name="referral", group="social", kind="multiclass", loss="nll", out=4)
    config = model_config.model_copy(update={"tasks": (*model_config.tasks, new)})
    assert PLEClusterAdaTT(config).task_names[-1] == "referral"


def test_levels_follow_the_relations() -> None:
    levels = topological_levels([task.name for task in default_tasks()], RELATIONS)
    assert levels[1:] == (("cvr", "retention", "spending_category"), ("ltv", "brand_prediction"))
    assert topological_levels("abc", []) == (("a", "b", "c"),)


def test_a_cycle_is_a_configuration_error(model_config: ModelConfig) -> None:
    relations = [
        {"source": "ltv", "target": "ctr", "kind": "feature"},
        *(r.to_dict() for r in RELATIONS),
    ]
    with pytest.raises(ValidationError, match=r"cycle among: ctr, cvr, ltv"):
        ModelConfig.from_dict({**model_config.to_dict(), "transfer": {"relations": relations}})


def test_a_relation_with_an_unknown_task_is_a_configuration_error(model_config: ModelConfig) -> None:
    relations = [{"source": "ctr", "target": "cvrr", "kind": "feature"}]
    with pytest.raises(ValidationError, match="unknown task 'cvrr'; did you mean 'cvr'"):
        ModelConfig.from_dict({**model_config.to_dict(), "transfer": {"relations": relations}})


def test_a_relation_of_a_task_that_is_not_configured_is_dropped_and_reported() -> None:
    kept, dropped = active_relations(RELATIONS, select(["cvr", "ltv", "churn"]))
    assert [(r.source, r.target) for r in kept] == [("cvr", "ltv")]
    assert [(r.source, r.target) for r in dropped][:2] == [("ctr", "cvr"), ("churn", "retention")]


def test_a_name_that_is_nearly_a_configured_one_is_misspelt_and_any_other_is_off() -> None:
    tasks = select(["churn", "retention", "ltv"])
    with pytest.raises(ValueError, match="unknown task 'chrun'; did you mean 'churn'"):
        active_relations([Relation(source="chrun", target="ltv", kind="feature")], tasks)
    with pytest.raises(ValueError, match="unknown task 'retentoin'; did you mean 'retention'"):
        active_relations([Relation(source="ltv", target="retentoin", kind="feature")], tasks)
    kept, dropped = active_relations([Relation(source="balance_util", target="ltv", kind="feature")], tasks)
    assert not kept
    assert len(dropped) == 1


def test_inverse_needs_a_binary_source() -> None:
    with pytest.raises(ValueError, match="needs a binary source"):
        active_relations([Relation(source="nba", target="ltv", kind="inverse")], default_tasks())
