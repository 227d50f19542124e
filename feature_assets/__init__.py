"""What is known of a customer at an instant: contract tables, feature groups, labels. No torch, no Dagster here."""

from pathlib import Path

from feature_assets.kernels.compiled import keep_apart

keep_apart(Path(__file__).parent)
