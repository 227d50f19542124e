"""Owners, tags and the names of the groups in the UI, shared by all assets."""

from typing import Any

import dagster as dg

INGESTION, FEATURES, TRAINING, SCORING, MONITORING = "ingestion", "features", "training", "scoring", "monitoring"


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
