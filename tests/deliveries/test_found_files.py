"""Where the files of a table may lie: every place is read alike, and nothing is left unread in silence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from feature_assets.data.coercion import DeliveryError
from feature_assets.sources import ingest, read_delivery
from tests.deliveries.makers import deliver, same, write
from tests.deliveries.sources import COMPLETEJOURNEY, CONTRACT_FILES, Sound, both_sources

TABLE = "transactions"


def spark(frame: pl.DataFrame, folder: Path, parts: int = 2) -> None:
    """A folder of parts as Spark leaves it, with its marks."""
    folder.mkdir(parents=True)
    size = -(-frame.height // parts)
    for i in range(parts):
        name = f"part-{i:05d}-a1b2.c000.snappy.parquet"
        frame.slice(i * size, size).write_parquet(folder / name)
        (folder / f".{name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()


def by_value(column: str, *, keep: bool = False) -> Callable[[pl.DataFrame, Path], None]:
    """Folders `column=value`, with or without the column in the files."""

    def write_parts(frame: pl.DataFrame, folder: Path) -> None:
        for (value,), part in frame.group_by(column, maintain_order=True):
            place = folder / f"{column}={'__HIVE_DEFAULT_PARTITION__' if value is None else value}"
            place.mkdir(parents=True)
            (part if keep else part.drop(column)).write_parquet(place / "part-0.parquet")

    return write_parts


def moved(sound: Sound, folder: Path, make: Callable[[pl.DataFrame, Path], None], place: str) -> Path:
    """The delivery with its transactions in another place."""
    frames = sound.frames()
    write(frames, folder)
    (folder / f"{TABLE}.parquet").unlink()
    make(frames[TABLE], folder / place)
    return folder


def one_file(frame: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    frame.write_parquet(path)


def linked(frame: pl.DataFrame, path: Path) -> None:
    aside = path.parent.with_name("elsewhere.parquet")
    frame.write_parquet(aside)
    path.symlink_to(aside)


@both_sources
@pytest.mark.parametrize(
    ("make", "place"),
    [
        (one_file, f"{TABLE}.PARQUET"),
        (one_file, f"{TABLE}.parq"),
        (one_file, f"{TABLE}.pq"),
        (one_file, f"tables/{TABLE}.parquet"),
        (linked, f"{TABLE}.parquet"),
        (spark, f"{TABLE}.parquet"),
        (spark, TABLE),
        (spark, f"tables/{TABLE}"),
        (spark, f"{TABLE}.parquet/2024/05"),
        (by_value("kind_of_row", keep=True), TABLE),
    ],
)
def test_every_place_of_a_table_is_read_alike(
    sound: Sound, tmp_path: Path, make: Callable[[pl.DataFrame, Path], None], place: str
) -> None:
    def with_kind(frame: pl.DataFrame, path: Path) -> None:
        make(frame.with_columns(kind_of_row=pl.int_range(pl.len()) % 3), path)

    plain = deliver(sound.frames(), tmp_path / "plain", sound.dataset())
    delivery = read_delivery(sound.dataset(), moved(sound, tmp_path / "moved", with_kind, place))
    found = ingest(delivery)
    assert same(found.tables, plain.tables)
    assert found.notes == plain.notes
    assert delivery.place(TABLE).exists()


@both_sources
def test_values_of_folders_are_columns(sound: Sound, tmp_path: Path) -> None:
    column = {"customer_id": "merchant_id", "household_id": "store_id"}[sound.customer]
    plain = deliver(sound.frames(), tmp_path / "plain", sound.dataset())
    folder = moved(sound, tmp_path / "moved", by_value(column), f"{TABLE}.parquet")
    assert same(ingest(read_delivery(sound.dataset(), folder)).tables, plain.tables)


def test_the_value_of_a_folder_keeps_its_zeros(tmp_path: Path) -> None:
    frames = CONTRACT_FILES.frames()
    zeros = {
        name: frame.with_columns(("00" + pl.col("merchant_id")).alias("merchant_id"))
        for name, frame in frames.items()
        if name in ("merchants", TABLE)
    }
    write(frames | zeros, tmp_path)
    (tmp_path / f"{TABLE}.parquet").unlink()
    by_value("merchant_id")(zeros[TABLE], tmp_path / TABLE)
    result = ingest(read_delivery(CONTRACT_FILES.dataset(), tmp_path))
    assert set(result.tables.frames[TABLE]["merchant_id"].drop_nulls()) == set(zeros["merchants"]["merchant_id"])


def test_the_value_of_a_folder_has_the_type_of_its_column(tmp_path: Path) -> None:
    folder = moved(COMPLETEJOURNEY, tmp_path, by_value("store_id"), TABLE)
    (folder / TABLE / "store_id=300").rename(folder / TABLE / "store_id=north")
    with pytest.raises(DeliveryError, match="gives store_id as 'north', which is no Int64"):
        read_delivery(COMPLETEJOURNEY.dataset(), folder)


def _beside(path: Path) -> None:
    shutil.copy(path / f"{TABLE}.parquet", path / f"{TABLE}.parq")


def _two_forms(path: Path) -> None:
    spark(pl.read_parquet(path / f"{TABLE}.parquet"), path / "tables" / TABLE)


def _deeper(path: Path) -> None:
    frame = pl.read_parquet(path / f"{TABLE}.parquet")
    (path / f"{TABLE}.parquet").unlink()
    spark(frame, path / TABLE)
    by_value("store", keep=False)(frame.with_columns(store=pl.lit("008")), path / TABLE)


def _part(name: str, content: bytes | None = b"not rows") -> Callable[[Path], None]:
    def change(path: Path) -> None:
        frame = pl.read_parquet(path / f"{TABLE}.parquet")
        (path / f"{TABLE}.parquet").unlink()
        spark(frame, path / TABLE)
        (path / TABLE / name).parent.mkdir(exist_ok=True)
        if content is None:
            (path / TABLE / name).symlink_to(path / "nowhere")
        else:
            (path / TABLE / name).write_bytes(content)

    return change


def _renamed(name: str) -> Callable[[Path], None]:
    return lambda path: (path / f"{TABLE}.parquet").rename(path / name) and None


def _dangling(path: Path) -> None:
    (path / f"{TABLE}.parquet").unlink()
    (path / f"{TABLE}.parquet").symlink_to(path / "nowhere.parquet")


def _loop(path: Path) -> None:
    _part("_SUCCESS")(path)
    (path / TABLE / "again").symlink_to(path / TABLE, target_is_directory=True)


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (_beside, r"lies in several places: .*transactions\.par.*, .*Which one is meant cannot be told"),
    (_two_forms, r"lies in several places: .*transactions\.parquet, .*tables/transactions"),
    (_deeper, r"store=008/part-0\.parquet has other columns .* store \(String, expected None\)|store \(None, expected"),
    (_part("part-9.csv"), r"part-9\.csv is not named like a Parquet file"),
    (_part("part-00002"), r"part-00002 is not named like a Parquet file.*part-00002\.parquet"),
    (_part("part-00002.parquet", None), r"part-00002\.parquet is a link to .*nowhere, where nothing lies"),
    (_part("part-00002.parquet"), r"part-00002\.parquet \(8 bytes\) cannot be read as Parquet"),
    (_part("_delta_log/00000000000000000000.json"), r"has the format of Delta.*Export the table as plain Parquet"),
    (_part(".hoodie/hoodie.properties"), "has the format of Hudi"),
    (_part("metadata/v1.metadata.json"), "has the format of Iceberg"),
    (_part("_temporary/part-1.parquet"), "its writer has not finished"),
    (
        _renamed("Transactions.parquet"),
        r"Transactions\.parquet looks like it and is not read.*as transactions\.parquet",
    ),
    (_renamed(" transactions .parquet"), "looks like it and is not read"),
    (_renamed("transactions.csv"), r"transactions\.csv looks like it and is not read"),
    (_renamed("transactions.parquet.gz"), r"transactions\.parquet\.gz looks like it"),
    (_dangling, r"transactions\.parquet is a link to .*nowhere\.parquet, where nothing lies"),
    (_loop, "holds itself by a link"),
]


@both_sources
@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_may_be_a_part_of_a_table_and_is_not_read_is_an_error(
    sound: Sound, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = write(sound.frames(), tmp_path)
    change(folder)
    with pytest.raises(DeliveryError, match=message):
        read_delivery(sound.dataset(), folder)


@both_sources
def test_an_optional_table_under_another_name_is_not_absent(sound: Sound, tmp_path: Path) -> None:
    folder = write(sound.frames(), tmp_path)
    (folder / f"{sound.optional}.parquet").rename(folder / f"{sound.optional.upper()}.parquet")
    with pytest.raises(DeliveryError, match=f"table {sound.optional}: .* looks like it and is not read"):
        read_delivery(sound.dataset(), folder)


@both_sources
def test_hidden_files_hold_no_rows_and_are_named(sound: Sound, tmp_path: Path) -> None:
    frames = sound.frames()
    plain = deliver(frames, tmp_path / "plain", sound.dataset())
    folder = moved(sound, tmp_path / "hidden", spark, f"{TABLE}.parquet")
    place = folder / f"{TABLE}.parquet"
    for name in (".part-00000.parquet", "_metadata.parquet", "._part-00001.parquet"):
        frames[TABLE].write_parquet(place / name)
    frames[sound.optional].write_parquet(folder / f"._{sound.optional}.parquet")
    found = ingest(read_delivery(sound.dataset(), folder))
    assert same(found.tables, plain.tables)
    (inside,) = [note for note in found.notes if note.startswith(f"table {TABLE}: not read in")]
    assert inside.endswith(": ._part-00001.parquet, .part-00000.parquet, _metadata.parquet")
    (beside,) = [note for note in found.notes if "is no table and is not read" in note]
    assert beside.endswith(f"._{sound.optional}.parquet")


@both_sources
def test_what_is_no_table_is_named(sound: Sound, tmp_path: Path) -> None:
    folder = write(sound.frames(), tmp_path)
    (folder / "README.txt").write_text("read me")
    (folder / "old").mkdir()
    (folder / f"{TABLE}.parquet.sha256").write_text("0")
    notes = read_delivery(sound.dataset(), folder).notes
    assert f"in {folder} lies what is no table and is not read: README.txt, old, {TABLE}.parquet.sha256" in notes


@both_sources
def test_an_empty_folder_is_no_table(sound: Sound, tmp_path: Path) -> None:
    folder = write(sound.frames(), tmp_path)
    (folder / f"{sound.optional}.parquet").unlink()
    (folder / sound.optional).mkdir()
    notes = read_delivery(sound.dataset(), folder).notes
    assert f"table {sound.optional} was not delivered" in notes
    assert f"table {sound.optional}: the folder {folder / sound.optional} holds no Parquet file" in notes


@both_sources
def test_the_files_of_a_table_are_listed_by_their_place_in_it(sound: Sound, tmp_path: Path) -> None:
    folder = moved(sound, tmp_path, spark, f"{TABLE}/2024")
    files = read_delivery(sound.dataset(), folder).files
    listed = sorted(name for name in files if name.startswith(TABLE))
    assert listed == [f"{TABLE}/2024/part-{i:05d}-a1b2.c000.snappy.parquet" for i in range(2)]
    assert read_delivery(sound.dataset(), folder).place(TABLE) == folder / TABLE
