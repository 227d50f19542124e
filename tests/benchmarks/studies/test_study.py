"""Variants are changes of settings by path; the studies name settings, dates and models that exist."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from benchmarks.studies.catalogue import ABLATION, EMBEDDED, NIGHTS
from benchmarks.studies.changes import changed
from benchmarks.studies.study import Comparison, Variant
from pipeline.settings import Settings
from pipeline.training.material import training_plan
from tests.benchmarks.studies.conftest import STUDY

SETTINGS = Settings(home=Path("/nowhere"))
REFERENCE = Settings(home=Path("/nowhere"), preset="reference")


def test_a_path_leads_to_a_setting_or_to_a_named_item_of_a_list() -> None:
    assert changed(SETTINGS, {"training.phase2_epochs": 0}).training.phase2_epochs == 0
    without = changed(REFERENCE, {"network.experts.temporal": None}).network.experts
    assert {e.name for e in REFERENCE.network.experts} - {e.name for e in without} == {"temporal"}
    assert changed(SETTINGS, {}) == SETTINGS
    training = SETTINGS.training.to_dict()
    assert changed(SETTINGS, {"training": training, "training.patience": 3}).training.patience == 3
    assert training == SETTINGS.training.to_dict()
    trunk = changed(SETTINGS, {"preset": "trunk", "network.members": 2})
    assert [expert.name for expert in trunk.network.experts] == ["wide"]
    assert trunk.network.members == 2


@pytest.mark.parametrize(
    ("path", "value", "hint"),
    [
        ("training.phase2_epoch", 0, "did you mean 'phase2_epochs'"),
        ("network.experts.lihgtgcn", None, "did you mean 'lightgcn'"),
        ("trainig.phase2_epochs", 0, "did you mean 'training'"),
        ("training.phase2_epochs", -1, "greater than or equal"),
        ("seed.more", 1, "no setting 'more'"),
    ],
)
def test_a_setting_that_does_not_exist_is_an_error_that_names_the_nearest(path: str, value: object, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        changed(REFERENCE, {path: value})


def test_a_study_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(ValueError, match="two variants"):
        replace(STUDY, variants=(*STUDY.variants, Variant("default")))
    with pytest.raises(ValueError, match="did you mean 'default'"):
        replace(STUDY, comparisons=(Comparison("defalt/network", (), ""),))
    with pytest.raises(ValueError, match="later"):
        replace(STUDY, role="later")
    with pytest.raises(ValueError, match="did you mean 'trees'"):
        STUDY.variant("tree")


@pytest.mark.parametrize("name", NIGHTS)
def test_the_variants_of_a_study_are_valid_and_differ(name: str) -> None:
    study = NIGHTS[name]
    found = []
    for variant in study.variants:
        settings = study.settings_of(variant, study.seeds[0], Path("/nowhere"))
        found.append((settings.model_dump_json(), variant.run, variant.stopping, variant.peer))
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", NIGHTS)
def test_every_origin_has_a_training_date_for_every_task(name: str) -> None:
    study = NIGHTS[name]
    settings = study.origin_settings(Path("/nowhere"))
    for day in map(date.fromisoformat, study.origins):
        plan = training_plan(settings, settings.load_dataset(), day)
        longest = max(plan.windows.values())
        trained = [t for t in plan.train if t + timedelta(days=longest) <= plan.holdout_start]
        assert len(trained) >= 8 or study.role == "later"
        assert day <= settings.load_dataset().covers_until
    weekdays = {date.fromisoformat(day).weekday() for day in study.origins}
    assert len(weekdays) == 1


def test_the_ablation_switches_every_expert_off() -> None:
    names = {expert.name for expert in SETTINGS.network.experts}
    assert {f"without {name}" for name in names} <= {variant.name for variant in ABLATION.variants}
    assert len(EMBEDDED.origins) * len(EMBEDDED.seeds) == 15
