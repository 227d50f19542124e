"""Owners, tags, parameters and the names of the groups in the UI, shared by all assets."""

from typing import Any

import dagster as dg

from pipeline.settings import Settings

INGESTION, FEATURES, TRAINING, SCORING, MONITORING = "ingestion", "features", "training", "scoring", "monitoring"
GivenSettings = dg.ResourceParam[Settings]
"""The settings of the deployment, as a parameter of an asset."""


def asset_options(group: str, *kinds: str) -> dict[str, Any]:
    """Owner, kinds and tags of an asset of one of the five groups."""
    return {
        "group_name": group,
        "kinds": {*kinds},
        "owners": ["team:customer-intelligence"],
        "tags": {"ple/room": group},
    }


def checked(name: str, passed: bool, **metadata: Any) -> dg.AssetCheckResult:
    """Result of a blocking check, with metadata for the reader."""
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=dg.AssetCheckSeverity.ERROR, metadata=metadata)


def compared(name: str, stops: bool, **metadata: Any) -> dg.AssetCheckResult:
    """Result of a comparison that found something: it stops the run, or only warns."""
    severity = dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(check_name=name, passed=False, severity=severity, metadata=metadata)
