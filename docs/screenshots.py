"""Pictures of the user interfaces for the docs: a home is served, and a real browser looks at it.

    python -m docs.screenshots [--home HOME] [--only NAME ...]

Without a home, two nights of a few simulated customers are made first (some minutes). Needs `pip install -e
'.[dev,docs]'` and a Chromium (`apt-get install chromium`). Listens on loopback only, changes nothing in the home.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.pipeline.conftest import write_settings
from tests.pipeline.running import PLE, night
from tests.pipeline.serving import mlflow, served
from tests.trials import small_bank

IMAGES = Path(__file__).parent / "images"
MOST_BYTES = 200_000
DESKTOP, PHONE = (1440, 900), (390, 844)
SECONDS = 120
"""For a page to show what it must, unless --seconds says otherwise."""


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: of the file, without its ending.
        address: of the page.
        shows: texts that must be there before the picture is taken.
        size: width and height of the window.
        then: clicks or scrolls before the picture is taken.
    """

    name: str
    address: str
    shows: tuple[str, ...] = ()
    size: tuple[int, int] = DESKTOP
    then: Callable[[Page], None] | None = None


def pictures(addresses: Mapping[str, str], home: Path) -> list[Picture]:
    """All pictures of a home that is served."""
    dagster, ml = addresses["Dagster"], addresses["MLflow"]
    version = mlflow(ml, "registered-models/alias", name="ple", alias="champion")["model_version"]
    run = mlflow(ml, "runs/get", run_id=version["run_id"])["run"]["info"]
    workflow = "?workflowType=machine_learning"
    of_run = f"experiments/{run['experiment_id']}/runs/{run['run_id']}"
    found = [
        Picture("timeline", f"{dagster}/overview/activity/timeline", ("nightly",)),
        Picture("lineage", f"{dagster}/asset-groups", ("scores",), then=_settled),
        Picture("scores", f"{dagster}/assets/scores?view=overview", ("Description", "model version")),
        Picture(
            "evaluation", f"{dagster}/assets/training/evaluation?view=overview", ("legend",), (1440, 1300), _settled
        ),
        Picture("columns", f"{dagster}/assets/features/matrix?view=overview", ("Columns",), then=_to("Columns")),
        Picture("checks", f"{dagster}/assets/quarantine?view=checks", ("faults_within_limit",), then=_settled),
        Picture("mlflow-run", f"{ml}/#/{of_run}{workflow}", ("Metrics",)),
        Picture("mlflow-version", f"{ml}/#/models/ple/versions/{version['version']}{workflow}", ("champion",)),
    ]
    reports = sorted(home.glob("reports/as_of=*/report.html"))
    if reports:
        found += [
            Picture("report-desktop", reports[-1].as_uri()),
            Picture("report-phone", reports[-1].as_uri(), size=PHONE),
        ]
    return found


def _settled(page: Page) -> None:
    """Wait for what moves."""
    page.wait_for_timeout(3_000)


def _to(heading: str) -> Callable[[Page], None]:
    """Scrolls to a heading."""

    def scroll(page: Page) -> None:
        page.get_by_text(heading, exact=True).last.scroll_into_view_if_needed()
        page.wait_for_timeout(1_000)

    return scroll


def take(browser: Browser, picture: Picture, folder: Path, seconds: int = SECONDS) -> Path:
    """Take a picture and write it as a PNG of at most `MOST_BYTES`.

    Raises:
        TimeoutError: the page does not show what it must.
    """
    width, height = picture.size
    page = browser.new_page(
        viewport={"width": width, "height": height}, device_scale_factor=2 if picture.size == PHONE else 1
    )
    try:
        page.set_default_timeout(seconds * 1_000)
        page.goto(picture.address, wait_until="domcontentloaded")
        for text in picture.shows:
            page.get_by_text(text).first.wait_for(state="visible")
        page.wait_for_timeout(2_000)
        if picture.then is not None:
            picture.then(page)
        raw = page.screenshot()
    finally:
        page.close()
    file = folder / f"{picture.name}.png"
    file.write_bytes(small(raw))
    return file


def small(raw: bytes) -> bytes:
    """A PNG with as many colours of a palette as `MOST_BYTES` allow."""
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    packed = b""
    for colours in (256, 128, 64, 32, 16):
        buffer = io.BytesIO()
        image.quantize(colours).save(buffer, format="PNG", optimize=True)
        packed = buffer.getvalue()
        if len(packed) <= MOST_BYTES:
            break
    return packed


@contextmanager
def small_home() -> Iterator[tuple[Path, Path]]:
    """A home with two nights of the small bank, and its delivery; both go afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        home, delivery = Path(folder) / "home", small_bank.delivery(Path(folder))
        home.mkdir()
        write_settings(home)
        with (home / "settings.yaml").open("a") as settings:
            settings.write(f"dataset: {small_bank.DATASET}\n")
        for as_of in (small_bank.EARLIER, small_bank.LAST):
            night(home, delivery, as_of)
        yield home, delivery


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, help="a home with a night in it (default: one is made)")
    parser.add_argument("--data-dir", type=Path, help="the delivery of that home, where its data set brings none")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures (default: %(default)s)")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these pictures only")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for a page to load (default: %(default)s)")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    given = parser.parse_args()
    if not given.chromium:
        sys.exit("no Chromium is installed: apt-get install chromium, or name one with --chromium")
    given.out.mkdir(parents=True, exist_ok=True)
    if given.home is not None:
        photograph(given.home.resolve(), given.data_dir, given)
        return
    print(f"two nights of {small_bank.CUSTOMERS} simulated customers first ({' '.join(PLE)} nightly)", flush=True)
    with small_home() as (home, delivery):
        photograph(home, delivery, given)


def photograph(home: Path, delivery: Path | None, given: argparse.Namespace) -> None:
    """Serve a home and take its pictures."""
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with served(home, delivery) as addresses, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=as_root)
        for picture in pictures(addresses, home):
            if given.only and picture.name not in given.only:
                continue
            start = time.monotonic()
            file = take(browser, picture, given.out, given.seconds)
            print(f"{file} {file.stat().st_size / 1_000:.0f} kB, {time.monotonic() - start:.0f} s", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
