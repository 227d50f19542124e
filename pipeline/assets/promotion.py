"""The jobs `promote` and `rollback`: a person's word about the champion, from the command or from the launchpad.

No asset is computed in them. Each decision is noted on the asset `training/champion`, beside those of the trainings.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from pipeline.assets.training import key
from pipeline.assets.training_metadata import decision_metadata
from pipeline.resources.tracking import Tracking
from pipeline.runs.in_process import PROMOTE, ROLLBACK
from pipeline.training import takeover
from pipeline.training.takeover import Decided, PromotionError


class PromoteConfig(dg.Config):
    """Which version a person promotes, and why."""

    version: str = Field(default="", description="Number of the version; empty: the challenger.")
    because: str = Field(default="", description="Why. Needed for a version that was refused or rolled back.")


class RollbackConfig(dg.Config):
    """Why a person goes back to the version that the champion replaced."""

    because: str = Field(default="", description="Why.")


def _refused(error: Exception) -> dg.Failure:
    return dg.Failure(str(error), allow_retries=False)


@dg.op(description="Make a version the champion.")
def make_champion(context: dg.OpExecutionContext, config: PromoteConfig, tracking: Tracking) -> None:
    """Promote the version that the configuration names, or the challenger."""
    try:
        decided = takeover.promote(tracking, config.version, config.because)
    except PromotionError as error:
        raise _refused(error) from error
    _note(context, tracking, decided)


@dg.op(description="Put the version that the champion replaced into its place again.")
def go_back(context: dg.OpExecutionContext, config: RollbackConfig, tracking: Tracking) -> None:
    """Roll back."""
    try:
        decided = takeover.roll_back(tracking, config.because)
    except PromotionError as error:
        raise _refused(error) from error
    _note(context, tracking, decided)


@dg.job(
    name=PROMOTE,
    description="A person makes a version the champion. Launchpad: ops → make_champion → config → version, because.",
)
def promote() -> None:
    """One op."""
    make_champion()


@dg.job(
    name=ROLLBACK,
    description="A person goes back to the version that the champion replaced; the next night scores with it.",
)
def rollback() -> None:
    """One op."""
    go_back()


_LOGGED: dict[str, Any] = {"loggers": {"ple": {}}}
"""One line a step in the terminal."""


def promote_config(version: str, because: str) -> dict[str, Any]:
    """Run configuration of the job `promote`."""
    return _LOGGED | {"ops": {make_champion.name: {"config": {"version": version, "because": because}}}}


def rollback_config(because: str) -> dict[str, Any]:
    """Run configuration of the job `rollback`."""
    return _LOGGED | {"ops": {go_back.name: {"config": {"because": because}}}}


def _note(context: dg.OpExecutionContext, tracking: Tracking, decided: Decided) -> None:
    """The decision as an event of `training/champion`, on the training date of the version that is champion now."""
    now = tracking.champion()
    assert now is not None  # the alias was set just now
    said = f"version {decided.version} {decided.status} by {decided.by}; the champion is version {now.version} now"
    context.log.info(said)
    context.log_event(
        dg.AssetMaterialization(
            key("champion"),
            partition=now.as_of.isoformat(),
            description=said,
            metadata={
                **decision_metadata(decided, tracking),
                "version": now.version,
                "trained as of": now.as_of.isoformat(),
                "state version": now.state_version,
                "bundle": dg.MetadataValue.path(str(now.folder)),
            },
        )
    )
