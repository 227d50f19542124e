"""The bundle of a registered version is found under the name of its folder, and is what was registered."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from pipeline.resources.digests import SEAL, file_digest, seal
from pipeline.resources.tracking import SEALED, Tracking

TAGS = {"as_of": "2018-01-01", "state_version": "s", "dataset": "x"}


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server whose only model lies in a folder."""
    server = SimpleNamespace(artifacts=SimpleNamespace(download_artifacts=lambda *_, **__: str(tmp_path)))
    monkeypatch.setattr(Tracking, "_mlflow", server)
    return Tracking(uri="sqlite://", artifacts=str(tmp_path), dataset="x")


def version(**tags: str) -> Any:
    return SimpleNamespace(version="3", run_id="r", tags={**TAGS, **tags})


@pytest.mark.parametrize("name", ["bundle", "refit_bundle"])
def test_a_bundle_of_either_fit_is_found_and_verified(name: str, tracking: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data" / name
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text("{}")
    assert tracking._describe(version()).folder == folder  # of a release that sealed none
    seal(folder)
    sealed = file_digest(folder / SEAL)
    assert tracking._describe(version(**{SEALED: sealed})).folder == folder
    (folder / "evaluation.json").write_text("[]")
    with pytest.raises(
        dg.Failure, match=r"version 3 of the model is refused: .*was altered: evaluation\.json\. Restore"
    ):
        tracking._describe(version(**{SEALED: sealed}))
    seal(folder)  # whoever alters a file and its seal is told by the registry
    with pytest.raises(dg.Failure, match=r"was altered: seal\.json"):
        tracking._describe(version(**{SEALED: sealed}))


def test_a_bundle_that_is_gone_is_named(tracking: Any) -> None:
    with pytest.raises(dg.Failure, match=r"version 3 of the model is refused: .*is not there"):
        tracking._describe(version())
