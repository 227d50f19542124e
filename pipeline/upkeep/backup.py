"""A backup of a home as a folder, and a home from a backup.

    FOLDER/backup.json    what the backup holds: digests of all files, targets of all links, the home's format
    FOLDER/home/          the home: databases by sqlite's own backup, so that each is whole, all else byte by byte

Whoever backs up holds the home's lock, so that no night runs meanwhile. What is made again is left out. A store outside
the home (PostgreSQL, a tracking server) has means of its own. Source: docs/operating.md, "Backup and restore".
"""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pipeline.home import home_format, lake_place
from pipeline.home.folder import Home
from pipeline.resources.digests import file_digest
from pipeline.resources.files import STRAY, empty_beside, is_sqlite, publish_folder, publish_json
from pipeline.resources.versions import PUBLISHED
from pipeline.upkeep.upgrade import upgrade

FORMAT = 1
MANIFEST, CONTENT = "backup.json", "home"
LEFT_OUT = ("locks", "kernels", "simulations")
"""Folders of a home that its next use makes again."""
_BESIDE_SQLITE = ("-wal", "-shm", "-journal")


class BackupError(ValueError):
    """A backup that cannot be made, is not whole, or cannot be restored here; says why and what to do."""


@dataclass(frozen=True)
class Backup:
    """The manifest.

    Attributes:
        format: of the backup.
        home_format: of the home in it.
        made_at: when (UTC).
        home: where the home lay.
        files: path in the home → SHA-256 of its bytes in the backup.
        links: path in the home → relative target.
        bytes: of all files.
    """

    format: int
    home_format: int
    made_at: str
    home: str
    files: dict[str, str]
    links: dict[str, str]
    bytes: int


def back_up(home: Home, folder: Path) -> Backup:
    """Write a backup of a home whose lock this process holds; the folder appears whole or not at all.

    Raises:
        BackupError: the folder holds something, or lies in the home; a database is damaged.
    """
    folder = folder.resolve()
    if folder.is_relative_to(home.root.resolve()):
        raise BackupError(f"{folder} lies in the home itself: name a folder elsewhere, best on another disk")
    _refuse_filled(folder, "name a folder that does not exist yet")
    beside = empty_beside(folder)
    try:
        files, links, size = _copy(home.root, beside / CONTENT)
        made = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        backup = Backup(FORMAT, home_format.read(home.root), made, str(home.root), files, links, size)
        publish_json(asdict(backup), beside / MANIFEST)
        publish_folder(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return backup


def restore(folder: Path, home: Home) -> Backup:
    """Make a home from a backup, every byte verified, and prepare it; it appears whole or not at all.

    Raises:
        HomeError: no home can lie there.
        BackupError: there is a home already; the folder is no backup, not whole, altered, or of a newer release.
    """
    home.refuse_unusable()
    _refuse_filled(home.root, "a backup is restored to a place of its own; set PLE_HOME")
    backup = read(folder)
    beside = empty_beside(home.root)
    try:
        for name, digest in backup.files.items():
            source, target = folder / CONTENT / name, beside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, target, follow_symlinks=False)
            except FileNotFoundError as error:
                raise BackupError(f"{source} is missing: the backup is not whole, use another one") from error
            if target.is_symlink() or file_digest(target) != digest:
                raise BackupError(f"{source} was altered since the backup: use another one")
        for name, to in backup.links.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).symlink_to(to, target_is_directory=True)
        if home.root.exists():
            home.root.rmdir()
        publish_folder(beside, home.root)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    home.prepare()
    upgrade(home)
    return backup


def read(folder: Path) -> Backup:
    """The manifest of a backup.

    Raises:
        BackupError: there is none, or it is damaged, names a path outside a home, or is of a newer release.
    """
    file = folder / MANIFEST
    try:
        backup = Backup(**json.loads(file.read_bytes()))
        wrong = [name for name in (*backup.files, *backup.links) if not _is_inside(PurePosixPath(name))]
        wrong += [name for name, to in backup.links.items() if not _is_inside(PurePosixPath(name).parent / to)]
    except FileNotFoundError as error:
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BackupError(f"{file} is damaged: use another backup") from error
    if wrong:
        raise BackupError(
            f"{file} names {wrong[0]!r}, which lies outside of a home: it was altered, use another backup"
        )
    if backup.format > FORMAT or backup.home_format > home_format.FORMAT:
        raise BackupError(f"{folder} was made by a newer release: restore it with that release")
    return backup


def lies_elsewhere(home: Home, mlflow_uri: str | None) -> list[str]:
    """Stores of a deployment that lie outside its home, in words: no backup of the home holds them."""
    found = []
    if mlflow_uri is not None:
        found.append("MLflow lies outside of the home (mlflow_uri): back up its database and its artifacts as well")
    if home.lake_url is not None:
        found.append(f"published tables lie under {home.lake_url}: have the object store keep copies of them")
    config = home.dagster / "dagster.yaml"
    if config.is_file() and any(line.startswith("storage:") for line in config.read_text().splitlines()):
        found.append("Dagster's storage lies outside of the home (dagster.yaml): back up its database as well")
    return found


def _is_inside(path: PurePosixPath) -> bool:
    return not path.is_absolute() and not os.path.normpath(path).startswith("..")


def _refuse_filled(folder: Path, remedy: str) -> None:
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise BackupError(f"{folder} exists and is not empty: {remedy}")


def _copy(root: Path, to: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """Copy what a home holds; digests of the files, targets of the links, bytes."""
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    size = 0
    to.mkdir(parents=True)
    for folder, names, found in os.walk(root):
        where = Path(folder).relative_to(root)
        if where == Path():
            names[:] = [name for name in names if name not in LEFT_OUT]
        if where == Path("lake") and lake_place.url_of(Path(folder)) is not None:
            names[:] = [name for name in names if name != PUBLISHED]  # copies of what lies elsewhere
        names[:] = [name for name in names if not _is_stray(name)]
        for name in sorted((*names, *found)):
            source, target = Path(folder, name), to / where / name
            if source.is_symlink():
                links[(where / name).as_posix()] = os.readlink(source)
            elif source.is_file() and not _is_stray(name) and not _belongs_to_database(source):
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy_file(source, target)
                files[(where / name).as_posix()] = file_digest(target)
                size += target.stat().st_size
    return files, links, size


def _is_stray(name: str) -> bool:
    return name.startswith(".") and name.endswith(STRAY)


def _belongs_to_database(file: Path) -> bool:
    """Whether a file is the journal of a database, which the copy of the database has in itself."""
    return any(
        file.name.endswith(end) and is_sqlite(file.with_name(file.name.removesuffix(end))) for end in _BESIDE_SQLITE
    )


def _copy_file(source: Path, target: Path) -> None:
    if not is_sqlite(source):
        shutil.copyfile(source, target)
        return
    try:
        with closing(sqlite3.connect(source, timeout=60)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")  # one file: nothing of the copy lies in a journal
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be read as a database: {error}") from error
