"""The multi-task model as a library: torch in, torch out. It knows no table, no Dagster, no MLflow."""
