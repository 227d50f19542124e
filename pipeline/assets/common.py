"""Owners, tags, freshness, parameters and the names of the groups in the UI, shared by all assets."""

import warnings
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from feature_assets.data.dataset import DatasetConfig
from feature_assets.sources import reader_of
from pipeline.settings import Settings

INGESTION, FEATURES, TRAINING, SCORING, MONITORING = "ingestion", "features", "training", "scoring", "monitoring"
GivenSettings = dg.ResourceParam[Settings]
"""The settings of the deployment, as a parameter of an asset."""


def asset_options(group: str, *kinds: str, days: int = 1) -> dict[str, Any]:
    """Owner, kinds, tags and freshness of an asset of one of the five groups.

    days: the cadence at which it is made. A card of the UI warns six hours after it was due, and fails after twelve.
    """
    due = timedelta(days=days)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        fresh = dg.FreshnessPolicy.time_window(
            fail_window=due + timedelta(hours=12), warn_window=due + timedelta(hours=6)
        )
    return {
        "group_name": group,
        "kinds": {*kinds},
        "owners": ["team:customer-intelligence"],
        "tags": {"ple/room": group},
        "freshness_policy": fresh,
    }


def in_this_data_set(description: str, dataset: DatasetConfig, sources: Iterable[str]) -> str:
    """A description that says first what the data set lacks of these sources, where it lacks any."""
    lacks = sorted(reader_of(dataset).never & {*sources})
    if not lacks:
        return description
    return f"**Empty: the data set {dataset.name} has no {' and no '.join(lacks)}.** {description}"


def checked(
    name: str, passed: bool, asset: dg.AssetKey | None = None, metadata: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    """Result of a blocking check, with metadata for the reader; a step of several assets says of which."""
    severity = dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(asset_key=asset, check_name=name, passed=passed, severity=severity, metadata=metadata)


def compared(
    name: str, stops: bool, asset: dg.AssetKey | None = None, metadata: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    """Result of a comparison that found something: it stops the run, or only warns."""
    severity = dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(asset_key=asset, check_name=name, passed=False, severity=severity, metadata=metadata)
