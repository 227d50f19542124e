"""The inbox: the folder into which the deliveries of a data set come, and which of them have arrived by a date."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.local_time import today
from feature_assets.sources.arrivals import ARRIVED


def inbox_of(dataset: DatasetConfig, folder: Path | None) -> Path:
    """The folder of the deliveries: the given one, or that of the data set.

    Raises:
        DeliveryError: there is none.
    """
    inbox = folder or dataset.folder
    if inbox is None:
        raise DeliveryError(f"{dataset.name} names no folder of its own: give that of its deliveries as DATA_DIR")
    if not inbox.is_dir():
        raise DeliveryError(f"{inbox} is not a folder: give the folder that holds the deliveries")
    return inbox


def last_day(dataset: DatasetConfig, folder: Path | None) -> date:
    """The default as-of date: the day after the last day of data, the last day of arrival that a folder states, or
    where a database is read today: yesterday is over.

    Raises:
        DeliveryError: deliveries add up, and none states when it arrived.
    """
    if dataset.delivery == "full":
        return dataset.covers_until
    if dataset.databases:
        return min(today(dataset.zone, datetime.now(UTC)), dataset.covers_until)
    inbox = inbox_of(dataset, folder)
    found = _stated(inbox)
    if not found:
        raise DeliveryError(f"no folder {ARRIVED}=YYYY-MM-DD in {inbox}: say on which as-of date its delivery arrives")
    return min(max(found), dataset.covers_until)


def arrived(inbox: Path, as_of: date, log: Callable[[str], None]) -> Iterator[tuple[date, Path]]:
    """The deliveries in the inbox that have arrived by the as-of date, with their days, in order."""
    found = _stated(inbox)
    beside = sorted(path.name for path in inbox.iterdir() if path not in found.values() and path.name[0] not in "._")
    if not found:
        if beside:
            yield as_of, inbox
        return
    if beside:
        raise DeliveryError(
            f"{inbox} holds {', '.join(beside[:5])} beside the folders {ARRIVED}=…: put each delivery into one of them"
        )
    later = [day for day in found if day > as_of]
    if later:
        log(f"deliveries that arrive after {as_of} wait: {', '.join(str(day) for day in sorted(later)[:5])}")
    yield from sorted((day, folder) for day, folder in found.items() if day <= as_of)


def _stated(inbox: Path) -> dict[date, Path]:
    """Day of arrival → folder."""
    found = {}
    for folder in sorted(inbox.glob(f"{ARRIVED}=*")):
        day = folder.name.removeprefix(f"{ARRIVED}=")
        try:
            found[date.fromisoformat(day)] = folder
        except ValueError:
            raise DeliveryError(f"{folder}: {day!r} is no date; name the folder {ARRIVED}=YYYY-MM-DD") from None
    return found
