"""Publication into an object store: readers see one version or another, whatever is cut, altered or not listed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from pipeline import faults
from pipeline.erasure.places import clean_published
from pipeline.erasure.words import Who
from pipeline.home import lake_place
from pipeline.home.folder import Home, HomeError
from pipeline.resources import remote
from pipeline.resources.publication import PublicationError, Published, fetch, named, tables
from pipeline.resources.remote import Remote
from tests.pipeline.object_server import WAYS, Readers, Server
from tests.pipeline.resources.test_publication import DAY, NEXT, frame

HERE = Path(__file__).parent
KINDS = ("memory", "s3")
_numbers = iter(range(1_000_000))


def new_url(kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of a lake in which nothing is."""
    name = f"lake-{os.getpid()}-{next(_numbers)}"
    if kind == "memory":
        return f"memory://{name}/prefix"
    server: Server = request.getfixturevalue("object_store")
    server.faults.begin()
    server.faults.listing = None
    return f"{server.bucket(name)}/prefix"


def lake_under(url: str, folder: Path) -> Path:
    lake_place.note(folder / "lake", url)
    return folder / "lake"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    return new_url(request.param, request)


@pytest.fixture
def s3(request: pytest.FixtureRequest) -> Iterator[str]:
    yield new_url("s3", request)
    server: Server = request.getfixturevalue("object_store")
    server.faults.begin()
    server.faults.listing = None


@pytest.fixture
def scores(url: str, tmp_path: Path) -> Published:
    """Two dates, the first of them with a version that was replaced."""
    return filled(url, tmp_path)


def filled(url: str, tmp_path: Path) -> Published:
    published = Published(lake_under(url, tmp_path), "scores")
    published.publish(frame(0.1), DAY)
    published.publish(frame(0.2), DAY)
    published.publish(frame(0.3, NEXT), NEXT)
    return published


def bucket_of(url: str) -> str:
    return url.split("/")[2]


def test_what_is_published_is_read_here_and_on_a_machine_that_knows_the_url_only(
    scores: Published, url: str, tmp_path: Path
) -> None:
    elsewhere = Published(lake_under(url, tmp_path / "other"), "scores")
    for table in (scores, elsewhere):
        assert table.read(DAY).equals(frame(0.2))
        assert table.scan(NEXT).select("churn").collect()["churn"].to_list() == [0.3, 0.3]
        assert table.dates() == [DAY, NEXT]
        assert table.has(DAY)
        assert not table.has("2018-01-03")
        assert tables(table.lake) == ["scores"]
    assert str(scores.resolve(DAY)).startswith(f"{url}/published/scores/{DAY}/")
    assert scores.address(scores.file(DAY)) == scores.resolve(DAY)
    with pytest.raises(PublicationError, match="scores of 2018-01-03 is not published: run the night"):
        elsewhere.read("2018-01-03")


def test_the_bytes_are_those_of_a_lake_on_a_disk(scores: Published, tmp_path: Path) -> None:
    local = Published(tmp_path / "local", "scores")
    file = local.publish(frame(0.2), DAY)
    assert scores.file(DAY).read_bytes() == file.read_bytes()
    assert scores.file(DAY).relative_to(scores.lake) == file.relative_to(local.lake)


def test_equal_content_writes_nothing(s3: str, tmp_path: Path, object_store: Server) -> None:
    scores = filled(s3, tmp_path)
    object_store.faults.begin()
    scores.publish(frame(0.2), DAY)
    assert {request.split()[0] for request in object_store.faults.requests} == {"GET", "HEAD"}
    scores.publish(frame(0.1), DAY)  # the version that was replaced is there, and is pointed at again
    assert scores.read(DAY).equals(frame(0.1))


def test_the_pointer_is_put_after_the_version_is_whole(s3: str, tmp_path: Path, object_store: Server) -> None:
    scores = filled(s3, tmp_path)
    object_store.faults.begin()
    scores.publish(frame(0.4), DAY)
    puts = [request.rpartition("/prefix/")[2] for request in object_store.faults.requests if request[:3] == "PUT"]
    path = str(scores.resolve(DAY)).removeprefix(f"{s3}/")
    assert puts == ["published/scores/ledger.json", path, f"scores/as_of={DAY}.json", "published/scores/ledger.json"]


def test_an_altered_version_is_refused_and_replaced_by_publishing_again(s3: str, tmp_path: Path) -> None:
    scores = filled(s3, tmp_path)
    path = str(scores.resolve(DAY)).removeprefix(f"{s3}/")
    fresh = Published(lake_under(s3, tmp_path / "other"), "scores")
    good = scores.file(DAY).read_bytes()
    for content in (good[:-1] + bytes([good[-1] ^ 1]), good[:-9], b""):
        Remote(s3).write(path, content)
        for table in (scores, fresh):
            with pytest.raises(PublicationError, match=r"altered.* run the night of 2018-01-01 again"):
                table.read(DAY)
        scores.publish(frame(0.2), DAY)
        assert fresh.read(DAY).equals(frame(0.2))
    fresh.file(DAY).write_bytes(b"an altered copy")
    assert fresh.read(DAY).equals(frame(0.2)), "it is fetched again"


def test_a_version_stays_as_long_as_it_is_told_and_the_pointed_one_for_ever(scores: Published) -> None:
    (replaced,) = scores.left(-1)
    assert list(scores.left(10)) == []
    assert scores.bytes_of(replaced) == scores.files(replaced)[0].stat().st_size > 0
    scores.withdraw(NEXT)
    scores.withdraw(NEXT)
    assert scores.dates() == [DAY]
    assert not scores.has(NEXT)
    assert {named(version)[0] for version in scores.left(-1)} == {DAY, NEXT}
    for version in list(scores.left(-1)):
        scores.forget(version)
        scores.forget(version)
    assert list(scores.left(-1)) == []
    assert [path.name for path in (scores.lake / "published" / "scores").iterdir()] == [DAY]
    assert scores.read(DAY).equals(frame(0.2))
    scores.publish(frame(0.6, NEXT), NEXT)
    assert scores.dates() == [DAY, NEXT]


def test_no_listing_is_needed(s3: str, tmp_path: Path, object_store: Server) -> None:
    """A listing that lags: it shows nothing of what is there, or all that is gone."""
    for listing in ([], ["prefix/scores/as_of=2017-01-01.json", "prefix/published/gone/ledger.json"]):
        object_store.faults.listing = listing
        scores = filled(f"{s3}/{len(listing)}", tmp_path / str(len(listing)))
        assert scores.dates() == [DAY, NEXT]
        assert tables(scores.lake) == ["scores"]
        (replaced,) = scores.left(-1)
        scores.forget(replaced)
        scores.withdraw(NEXT)
        assert scores.dates() == [DAY]
        fetch(scores.lake)
        assert scores.read(DAY).equals(frame(0.2))
    assert any(request.startswith("GET") for request in object_store.faults.requests)


def test_a_ledger_that_is_lost_or_damaged_is_made_again_from_a_listing(scores: Published, url: str) -> None:
    kept = Remote(url)
    for spoil in (
        lambda path: kept.delete(path),
        lambda path: kept.write(path, b"{"),
        lambda path: kept.write(path, b'{"days": {"2018-01-01": 3}}'),
    ):
        for path in ("published/scores/ledger.json", "published/tables.json"):
            spoil(path)
        assert scores.dates() == [DAY, NEXT]
        assert len(list(scores.left(-1))) == 1
        scores.publish(frame(0.2), DAY)
        scores.publish(frame(0.3, NEXT), NEXT)
        assert json.loads(kept.read("published/scores/ledger.json") or b"")["days"][DAY]["open"] is False
        assert tables(scores.lake) == ["scores"]


def test_a_damaged_pointer_is_replaced(scores: Published, url: str) -> None:
    for content in (b"", b"[]", b'{"path": "../../x", "bytes": 1, "tag": ""}', b'{"path": "y"}'):
        Remote(url).write(f"scores/as_of={DAY}.json", content)
        with pytest.raises(PublicationError, match="not published"):
            scores.read(DAY)
        scores.publish(frame(0.2), DAY)
        assert scores.read(DAY).equals(frame(0.2))


def test_forgotten_customers_are_in_no_version_here_or_there(s3: str, tmp_path: Path, object_store: Server) -> None:
    scores = filled(s3, tmp_path)
    object_store.faults.listing = []
    found = dict(clean_published(scores.lake, Who.of(["a"]), dry=True))
    assert sum(found.values()) == 3
    assert dict(clean_published(scores.lake, Who.of(["a"]), dry=False)) == found
    assert scores.read(DAY)["customer_id"].to_list() == ["b"]
    kept = [key for key in object_store.keys(bucket_of(s3)) if key.endswith(".parquet")]
    assert len(kept) == len(list(scores.lake.rglob("*.parquet"))) == 2
    assert not sum(count for _, count in clean_published(scores.lake, Who.of(["a"]), dry=True))


# --- connections that are cut -----------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between the attempts of a request."""
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("impatient")
def test_one_cut_of_any_request_is_healed(way: str, s3: str, tmp_path: Path, object_store: Server) -> None:
    scores = filled(s3, tmp_path)
    other = Published(lake_under(s3, tmp_path / "other"), "scores")
    for number in range(1, 15):
        object_store.faults.begin({number: way})
        scores.publish(frame(float(number)), DAY)
        assert other.read(DAY).equals(frame(float(number)))
        assert len(list(scores.left(-1))) == number + 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.usefixtures("impatient")
def test_a_connection_cut_at_a_random_moment_leaves_old_or_new_and_the_next_attempt_finishes(
    seed: int, s3: str, tmp_path: Path, object_store: Server
) -> None:
    chance = random.Random(seed)
    scores = filled(s3, tmp_path)
    before = frame(0.2)
    for attempt in range(6):
        new, number = frame(float(attempt)), chance.randint(1, 8)
        cut = {number: chance.choice(WAYS), number + 1: chance.choice(WAYS)}
        object_store.faults.begin(cut, away=number + 2)  # for good
        done, said = True, (True, True)
        try:
            scores.publish(new, DAY)
        except ConnectionError as error:
            done, said = False, (faults.passes(error), "does not answer" in faults.in_words(error))
        object_store.faults.begin()
        assert said == (True, True)
        reader = Published(lake_under(s3, tmp_path / f"reader-{attempt}"), "scores")
        seen = reader.read(DAY)
        assert seen.equals(new) or (not done and seen.equals(before)), (number, cut)
        assert reader.dates() == [DAY, NEXT]
        scores.publish(new, DAY)
        assert reader.read(DAY).equals(new)
        left = {named(version)[1] for version in scores.left(-1)}
        there = {key.rpartition("part-")[2][:16] for key in object_store.keys(bucket_of(s3)) if f"/{DAY}/" in key}
        assert there - left == {named(scores.resolve(DAY))[1]}, "every version is known, none was lost"
        before = new


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.usefixtures("impatient")
def test_a_withdrawal_that_is_cut_is_taken_up(number: int, s3: str, tmp_path: Path, object_store: Server) -> None:
    scores = filled(s3, tmp_path)
    object_store.faults.begin(away=number)
    with suppress(ConnectionError):
        scores.withdraw(NEXT)
    object_store.faults.begin()
    assert scores.dates() == ([DAY, NEXT] if scores.has(NEXT) else [DAY])
    scores.withdraw(NEXT)
    assert scores.dates() == [DAY]
    assert {named(version)[0] for version in scores.left(-1)} == {DAY, NEXT}


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_and_a_bucket_that_is_not_there_are_said(
    s3: str, tmp_path: Path, object_store: Server
) -> None:
    scores = filled(s3, tmp_path)
    object_store.faults.begin(away=1)
    with pytest.raises(ConnectionError, match=rf"{s3}/scores/as_of={DAY}.json: the object store does not answer"):
        scores.read(DAY)
    object_store.faults.begin()
    none = Published(lake_under("s3://no-such-bucket/x", tmp_path / "none"), "scores")
    with pytest.raises(PermissionError, match="there is no such bucket"):
        none.publish(frame(0.1), DAY)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_for_long_is_asked_once_a_request_until_it_answers(
    s3: str, tmp_path: Path, object_store: Server
) -> None:
    scores = filled(s3, tmp_path)
    for number in range(remote.PATIENCE + 2):
        object_store.faults.begin(away=1)
        with pytest.raises(ConnectionError) as raised:
            scores.read(DAY)
        away = number >= remote.PATIENCE
        asked = len(object_store.faults.requests)  # the client itself asks twice on a connection that it kept
        assert asked <= 2 if away else asked > len(remote.WAITS)
        assert faults.passes(raised.value) is not away
        assert "the server does not answer" in faults.in_words(raised.value)
    object_store.faults.begin()
    assert scores.read(DAY).height
    object_store.faults.begin(away=1)
    with pytest.raises(ConnectionError, match="does not answer"):
        scores.read(DAY)
    assert len(object_store.faults.requests) > len(remote.WAITS)
    object_store.faults.begin()
    assert scores.read(DAY).height


def test_missing_credentials_are_said(s3: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {name: os.environ[name] for name in ("AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_DEFAULT_REGION")}
    environment |= {"PYTHONPATH": str(HERE.parents[2]), "AWS_EC2_METADATA_DISABLED": "true"}
    environment |= {"AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    code = f"""
from pathlib import Path
from pipeline.resources.publication import Published
try:
    Published(Path({str(lake_under(s3, tmp_path))!r}), 'scores').dates()
except PermissionError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert "refuses the credentials in the environment (AWS_…)" in done.stdout, done.stderr


# --- readers ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_readers_in_polars_and_duckdb_see_one_version_while_connections_are_cut(
    s3: str, tmp_path: Path, object_store: Server
) -> None:
    rows = 20_000

    def night(number: int) -> pl.DataFrame:
        day, same = pl.lit(DAY).str.to_date().alias("as_of"), pl.lit(number).alias("night")
        return pl.DataFrame({"customer_id": range(rows)}).with_columns(day, same)

    scores = Published(lake_under(s3, tmp_path), "scores")
    scores.publish(night(0), DAY)
    chance = random.Random(0)
    with Readers(s3, DAY, "night", tmp_path) as readers:
        readers.a_round()
        for number in range(1, 11):
            object_store.faults.begin({chance.randint(1, 20): chance.choice(WAYS)})
            scores.publish(night(number), DAY)
            readers.a_round()
    for library, told in readers.told.items():
        assert told["wrong"] == [], library
        assert told["seen"] == [*range(11)], library
        assert set(told["rows"]) == {rows}


# --- homes ------------------------------------------------------------------------------------------------------


def test_a_home_keeps_to_the_place_of_its_tables(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.settle_lake(None)
    home.settle_lake("s3://bucket/lake")
    home.settle_lake("s3://bucket/lake")
    assert home.lake_url == "s3://bucket/lake"
    for other in (None, "s3://bucket/other"):
        with pytest.raises(HomeError, match=r"its published tables lie under s3://bucket/lake: set PLE_LAKE=s3://buck"):
            home.settle_lake(other)
    local = Home(tmp_path / "local")
    Published(local.lake, "scores").publish(frame(0.1), DAY)
    with pytest.raises(HomeError, match="lie on its own disk: a lake under s3://bucket/lake needs a new home"):
        local.settle_lake("s3://bucket/lake")
    (home.lake / lake_place.FILE).write_text("{")
    with pytest.raises(HomeError, match="is damaged"):
        home.settle_lake("s3://bucket/lake")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://key:secret@bucket/lake", "credentials do not belong in the URL"),
        ("s3://bucket/lake?X-Amz-Signature=1", "credentials do not belong in the URL"),
        ("/srv/lake", "is no URL of a lake"),
        ("s3://", "is no URL of a lake"),
        ("s3://bucket/../other", "is no URL of a lake"),
        ("s3://bucket/a*", "is no URL of a lake"),
        ("sftp://host/lake", "is no object store"),
        ("nothing://bucket/lake", "is of no kind that is known"),
    ],
)
def test_a_url_that_is_none_or_tells_a_secret_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        lake_place.checked(url)
    assert "secret@" not in str(refused.value)


def test_a_url_is_one_however_it_is_written() -> None:
    assert lake_place.checked("s3://bucket/lake/") == lake_place.checked("s3://bucket/lake") == "s3://bucket/lake"


def test_a_lake_on_a_disk_imports_no_client_and_without_the_extra_it_is_named(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import polars as pl
from pipeline.home import lake_place
from pipeline.resources.publication import Published
lake = Path({str(tmp_path)!r})
Published(lake / 'here', 'scores').publish(pl.DataFrame({{'a': [1]}}), {DAY!r})
print([name for name in ('s3fs', 'aiobotocore', 'fsspec', 'pipeline.resources.remote') if name in sys.modules])
sys.modules['s3fs'] = None
lake_place.note(lake / 'there', 's3://bucket/lake')
try:
    Published(lake / 'there', 'scores').dates()
except ImportError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[0] == "[]", done.stderr
    assert "pip install 'ple-nightly[s3]'" in done.stdout
