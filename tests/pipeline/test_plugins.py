"""Plug-ins: what they add, and clear errors where one cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from pipeline.definitions import build_definitions
from pipeline.plugins import PluginError, load_plugins
from pipeline.settings import PromotionSettings, Settings
from pipeline.training.challenge import Challenge
from pipeline.training.evaluation import Evaluation
from pipeline.training.promotion import Evidence, judge
from pipeline.training.rehearsal import Rehearsal

PLUGIN = """
import dagster as dg
from pipeline.training.promotion import Verdict


def never(evaluation):
    return Verdict(False, "never on a Friday")


def assets(dataset, partitions):
    @dg.asset(key="balance", partitions_def=partitions, group_name={group!r}, description="Balance. " + dataset.notice)
    def balance() -> None: ...

    return [balance]


def extend(extensions):
    extensions.promotion_rule(never)
    extensions.monitoring_assets(assets)
"""


def module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return name


def test_a_plug_in_adds_a_promotion_rule_and_a_monitoring_asset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(tmp_path, "my_monitoring", PLUGIN.format(group="monitoring"), monkeypatch)
    extensions = load_plugins((name,))
    assert extensions.files == [tmp_path / "my_monitoring.py"]
    good = Evaluation([], [], {"constant": {"churn": "ahead"}}, {}, {})
    evidence = Evidence(good, Challenge(), Rehearsal(1, 1, [], {}, "", 0.0), ())
    assert judge(evidence, PromotionSettings()).promote
    verdict = judge(evidence, PromotionSettings(), extensions.promotion_rules)
    assert (verdict.promote, verdict.reason) == (False, "never on a Friday")

    definitions = build_definitions(Settings(home=tmp_path), plugins=[name])
    jobs = {job: definitions.resolve_job_def(job).asset_layer.selected_asset_keys for job in ("nightly", "training")}
    assert dg.AssetKey("balance") in jobs["nightly"]
    assert dg.AssetKey("balance") not in jobs["training"]


def test_an_asset_of_another_group_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(tmp_path, "my_scoring", PLUGIN.format(group="scoring"), monkeypatch)
    with pytest.raises(ValueError, match="monitoring"):
        build_definitions(Settings(home=tmp_path, plugins=(name,)))


def test_what_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match="no_such_module"):
        load_plugins(("no_such_module",))
    name = module(tmp_path, "does_nothing", "", monkeypatch)
    with pytest.raises(PluginError, match="extend"):
        load_plugins((name,))
