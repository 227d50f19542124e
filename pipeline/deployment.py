"""One deployment: what a command that makes nights, or looks at them, has to do with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.home.folder import Home
from pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from pipeline.resources.tracking import Tracking


@dataclass(frozen=True)
class Deployment:
    """Its settings, home, Dagster and MLflow, and the instant in UTC at which they are looked at."""

    settings: Settings
    home: Home
    instance: DagsterInstance
    tracking: Tracking
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
