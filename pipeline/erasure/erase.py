"""The erasure of customers from a whole home, place by place. The home's lock is held.

First they are put on the list, so that no delivery brings them back; last the list says that all is done. Whatever a
kill leaves between, the same call again ends the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl
from sqlalchemy.exc import SQLAlchemyError

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DESCRIPTIONS, DatasetConfig, load_dataset
from pipeline.erasure import places
from pipeline.erasure.databases import clean_sqlite
from pipeline.erasure.places import ErasureError
from pipeline.erasure.words import DISTINCT, Who
from pipeline.home import lake_place
from pipeline.home.folder import Home
from pipeline.intake.arrivals import DELIVERED
from pipeline.intake.forgotten import CUSTOMER_COLUMNS, Forgotten, clean_delivered, named_in
from pipeline.intake.forgotten import FILE as LIST
from pipeline.resources.digests import SEAL, file_digest
from pipeline.resources.files import discard, is_sqlite, publish_folder, strays
from pipeline.resources.lake import Lake
from pipeline.resources.publication import PUBLISHED, PublicationError, fetch, tables
from pipeline.resources.tracking import Tracking
from pipeline.training.workspace import Workspace

_OWN = (LIST, "settings.yaml", "format.json", lake_place.FILE)
"""Files of the home that hold no customer, or are the operator's."""
_CODE = "code"
"""Folder of a logged model with the program that reads it."""


@dataclass(frozen=True)
class Erased:
    """What was taken out of one place, or would be: rows of tables, texts of documents."""

    place: str
    count: int


@dataclass(frozen=True)
class Outcome:
    """What an erasure found.

    Attributes:
        erased: the places that held something.
        problems: places that could not be cleaned, in words; the erasure is not finished.
        remaining: files in which an id still stands; only ids that stand for nothing else are looked for.
        versions: numbers of the versions of the model that were trained before.
    """

    erased: list[Erased]
    problems: list[str]
    remaining: list[Path]
    versions: list[str]


def erase(
    home: Home, dataset: DatasetConfig, tracking: Tracking, ids: Iterable[str], dry: bool, say: Callable[[str], None]
) -> Outcome:
    """Take customers out of a home: these, and whoever is on the list and found in it again.

    Args:
        dataset: of the home: which column of a kept delivery names a customer.
        ids: of customers; unknown ones are put on the list as well.
        dry: change nothing, tell only.
        say: gets a line for each room before it is looked at.

    Raises:
        ErasureError: deliveries of another data set are kept, whose description is not known. Nothing is changed.
    """
    described = _described(home, dataset)
    listed = Forgotten.read(home.root)
    asked = Who.of(ids)
    if asked.ids and not dry:
        listed = listed.with_more(asked.ids)
    if listed.customers and not dry:
        listed = replace(listed, finished=False)
        listed.save(home.root)
    who = Who(asked.ids | _found_again(home, described, listed))
    if not who.ids:
        if not dry and listed.customers:
            replace(listed, finished=True).save(home.root)
        return Outcome([], [], [], [])
    if not dry:
        for stray in list(strays(home.lake)):  # nothing is being written: the lock is held
            discard(stray)
    erased, problems = [], []
    for name, room in _rooms(home, described, tracking, who, dry):
        say(name)
        try:
            erased += [Erased(place, count) for place, count in room() if count]
        except (ErasureError, PublicationError, SQLAlchemyError, OSError) as error:
            problems.append(f"{name}: {error}")
    remaining = [] if dry else list(_remaining(home, who))
    if not dry and not problems:
        replace(Forgotten.read(home.root), finished=True).save(home.root)
    return Outcome(erased, problems, remaining, tracking.numbers())


Room = Callable[[], Iterator[tuple[str, int]]]


def _described(home: Home, dataset: DatasetConfig) -> dict[str, DatasetConfig]:
    """Data set of which the home keeps deliveries → its description."""
    found = {}
    for folder in sorted(home.lake.glob("arrivals/[!.]*")):
        name = folder.name
        if name == dataset.name:
            found[name] = dataset
        elif (DESCRIPTIONS / f"{name}.yaml").is_file():
            found[name] = load_dataset(name, DESCRIPTIONS)
        else:
            raise ErasureError(
                f"the home keeps deliveries of the data set {name}, and only its description says which column of them "
                f"names a customer: run the same command with --dataset-file {name}.yaml (or delete {folder}, if these "
                f"deliveries are not needed)"
            )
    return found


def _rooms(
    home: Home, described: Mapping[str, DatasetConfig], tracking: Tracking, who: Who, dry: bool
) -> list[tuple[str, Room]]:
    lake = Lake(root=str(home.lake))
    return [
        ("published tables", lambda: places.clean_published(home.lake, who, dry)),
        ("validated deliveries", lambda: _deliveries(lake, who, dry)),
        ("arrivals", lambda: _arrivals(lake, described, who, dry)),
        ("trainings", lambda: _trainings(lake, who, dry)),
        ("versions of the model", lambda: _bundles(home, tracking, who, dry)),
        ("other files", lambda: _files(home, who, dry)),
        ("databases", lambda: _databases(home, who, dry)),
    ]


def _found_again(home: Home, described: Mapping[str, DatasetConfig], listed: Forgotten) -> set[str]:
    """Ids on the list that a table in the home names: after a kill, or from a backup."""
    if not listed.customers:
        return set()
    seen: set[str] = set()
    found: set[str] = set()
    for column in _named(home, described):
        new = column.unique().drop_nulls().cast(pl.String)
        new = new.filter(~new.is_in(list(seen)))
        seen |= set(new)
        found |= set(listed.among(new))
    return set(Who.of(found).ids)


def _named(home: Home, described: Mapping[str, DatasetConfig]) -> Iterator[pl.Series]:
    """Every column in the home that names customers, and in tables that lie elsewhere. What cannot be read is passed
    over: its room tells."""
    fetch(home.lake)
    for root in (home.lake, home.root / "simulations"):
        for file in root.rglob("*.parquet"):
            try:
                names = [name for name in pl.read_parquet_schema(file) if name in CUSTOMER_COLUMNS]
                columns = [pl.read_parquet(file, columns=[name], hive_partitioning=False)[name] for name in names]
            except (pl.exceptions.PolarsError, OSError):
                continue
            yield from columns
    for name, dataset in described.items():
        for folder in _kept(home.lake, name):
            with suppress(DeliveryError):
                yield from named_in(dataset, folder / DELIVERED)


def _kept(lake: Path, name: str) -> list[Path]:
    return sorted((lake / "arrivals" / name).glob("[0-9]*_*_*"))


def _deliveries(lake: Lake, who: Who, dry: bool) -> Iterator[tuple[str, int]]:
    for folder in sorted(lake.path("deliveries").glob("[!.]*")):
        yield f"deliveries/{folder.name}", places.clean_made_again(folder, who, dry)


def _arrivals(lake: Lake, described: Mapping[str, DatasetConfig], who: Who, dry: bool) -> Iterator[tuple[str, int]]:
    """The copies of what arrived; what was made from one that changes is made from it again. What a killed night read
    from a database goes: the next one reads it."""
    for name, dataset in described.items():
        own = {DELIVERED: partial(_delivered, dataset, who)}
        for folder in _kept(lake.path(), name):
            count = places.clean_kept(folder, who, dry, own) if any((folder / DELIVERED).rglob("*")) else 0
            yield f"arrivals/{name}/{folder.name}", count
    for folder in sorted(lake.path("extracts").glob("*/[!.]*")):
        if not dry:
            discard(folder)
    for folder in sorted(lake.path("versions").glob("*/*")):
        count = sum(places.clean(file, who, dry=True) for file in places.files_below(folder))
        if count and not dry:
            discard(folder)
        yield f"versions/{folder.parent.name}/{folder.name}", count


def _delivered(dataset: DatasetConfig, who: Who, folder: Path, dry: bool) -> int:
    return clean_delivered(dataset, folder, who.among, dry)


def _trainings(lake: Lake, who: Who, dry: bool) -> Iterator[tuple[str, int]]:
    for folder in sorted(lake.path("training").glob("as_of=*")):
        work = Workspace(folder)
        sealed, count = work.sealed(), 0
        for each in sealed:
            count += places.clean_made_again(each, who, dry)
        for file in places.files_below(folder):
            if not any(file.is_relative_to(each) for each in sealed) and (own := places.clean(file, who, dry)):
                count += own
                if not dry:
                    work.note_again(file)
        if not dry:
            discard(work.processes)  # rows without names, which a killed training left
        yield f"training/{folder.name}", count


def _bundles(home: Home, tracking: Tracking, who: Who, dry: bool) -> Iterator[tuple[str, int]]:
    """The bundles of the registered versions. The list says which seal a bundle is about to get: a kill between the
    folder and the registry leaves a version that the next erasure finds whole."""
    for number in tracking.numbers():
        bundle, sealed = tracking.sealed_bundle(number)
        if bundle is None:
            continue
        if not sealed:
            yield f"version {number}", sum(places.clean(file, who, dry) for file in places.files_below(bundle))
            continue
        listed = Forgotten.read(home.root)
        there = file_digest(bundle / SEAL) if (bundle / SEAL).is_file() else ""
        if there and listed.seals.get(number) == there != sealed and not dry:
            tracking.renew_seal(number, there)
            sealed = there
        if there != sealed:
            raise ErasureError(f"version {number} of the model was altered: restore {bundle} from a backup")
        count, beside = places.clean_sealed(bundle, who, dry)
        if beside is not None:
            new = file_digest(beside / SEAL)
            replace(listed, seals={**listed.seals, number: new}).save(home.root)
            publish_folder(beside, bundle)
            tracking.renew_seal(number, new)
        yield f"version {number}", count


def _files(home: Home, who: Who, dry: bool) -> Iterator[tuple[str, int]]:
    """Whatever lies in none of the rooms before: reports, logs, simulations, examples of MLflow, notes in the lake."""
    done = {PUBLISHED, "deliveries", "arrivals", "versions", "training", *(t.split("/")[0] for t in tables(home.lake))}
    for file in places.files_below(home.root):
        parts = file.relative_to(home.root).parts
        lake = parts[0] == "lake" and len(parts) > 1 and parts[1] in done
        bundle = parts[:2] == ("mlflow", "artifacts") and ("data" in parts or _CODE in parts)
        if lake or bundle or parts[0] in ("locks", "kernels") or file.name in _OWN or is_sqlite(file):
            continue
        yield "/".join(parts), places.clean(file, who, dry)


def _databases(home: Home, who: Who, dry: bool) -> Iterator[tuple[str, int]]:
    for folder in (home.dagster, home.mlflow):
        for file in places.files_below(folder):
            if is_sqlite(file):
                yield file.relative_to(home.root).as_posix(), clean_sqlite(file, who, dry)


def _remaining(home: Home, who: Who) -> Iterator[Path]:
    distinct = Who(frozenset(each for each in who.ids if len(each) >= DISTINCT))
    if distinct.ids:
        for file in places.files_below(home.root):
            if distinct.perhaps_in(file.read_bytes()):
                yield file
