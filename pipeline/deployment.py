"""One deployment as `ple doctor` and `ple status` look at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.home import Home
from pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from pipeline.resources.tracking import Tracking


@dataclass(frozen=True)
class Deployment:
    """What is looked at, and when (`now`, an instant in UTC)."""

    settings: Settings
    home: Home
    instance: DagsterInstance
    tracking: Tracking
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
