"""The data side: contract tables, feature groups, labels. No torch, no Dagster here."""
