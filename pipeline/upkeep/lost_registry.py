"""A home whose MLflow lost its versions is not a new one: the lake still has the scores that they made."""

from pathlib import Path

from pipeline.resources.publication import PublicationError, Published
from pipeline.resources.tracking import Tracking


def lost_registry(tracking: Tracking, lake: Path) -> str:
    """Why nothing may train here by itself, and what to do; empty where MLflow has a version or nothing is scored."""
    published = Published(lake, "scores")
    dates = published.dates()
    if not dates or tracking.numbers():
        return ""
    try:
        version = str(published.read(dates[-1])["model_version"][0])
    except PublicationError:
        version = "unknown"
    lost = "the folder mlflow/ of the home" if tracking.uri.startswith("sqlite") else "the database or server of MLflow"
    return (
        f"MLflow knows no version of the model, but the scores of {dates[-1]} are by version {version}: restore "
        f"{lost} from a backup, or begin anew with `ple train`"
    )
