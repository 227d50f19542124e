"""Pictures of the user interfaces for docs/pages.md: a home is served, and a real browser looks at it.

    python -m docs.screenshots [--home HOME] [--only NAME ...]    # takes them
    python -m docs.screenshots --hold [NAME ...]                  # a person looked: they still show what is there

Without a home, two nights of a few simulated customers are made first (some minutes). Needs `pip install -e
'.[dev,docs]'` and a Chromium (`apt-get install chromium`). Listens on loopback only, changes nothing in the home.

Each picture names the files whose texts it shows. A digest of these texts lies beside the pictures (`DIGESTS`): a test
fails where a text changed since a picture was taken. Code that changes no text makes no picture old.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.pipeline.conftest import write_settings
from tests.pipeline.running import PLE, night
from tests.pipeline.serving import mlflow, served
from tests.trials import small_bank

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
IMAGES = Path(__file__).with_suffix("")
DIGESTS = "texts.json"
MOST_BYTES = 250_000
"""Of one picture."""
DESKTOP, PHONE = (1440, 900), (390, 844)
SECONDS = 120
"""For a page to show what it must, unless --seconds says otherwise."""
CLASSIC = "?workflowType=machine_learning"


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: of the file, without its ending.
        address: of the page; {dagster}, {mlflow} and {scores} are servers, {run} and {version} are MLflow's, {report}
            is a file.
        drawn_by: files and folders whose texts it shows.
        shows: texts that must be there before the picture is taken.
        gone: texts that must have gone before.
        size: width and height of the window.
        left: pixels that are cut away at the left.
        then: clicks or scrolls before the picture is taken.
    """

    name: str
    address: str
    drawn_by: tuple[str, ...]
    shows: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    size: tuple[int, int] = DESKTOP
    left: int = 0
    then: Callable[[Page], None] | None = None

    def texts(self) -> str:
        """Digest of the texts that it shows."""
        digest = hashlib.sha256()
        for place in self.drawn_by:
            files = sorted((ROOT / place).rglob("*")) if (ROOT / place).is_dir() else [ROOT / place]
            for file in files:
                if file.suffix == ".py":
                    digest.update("\0".join(texts_of(file)).encode())
                elif file.suffix == ".j2":
                    digest.update(file.read_bytes())
        return digest.hexdigest()[:16]


SHOWN = " or ".join(
    (
        *(f'key:"tables/{name}"' for name in ("transactions", "customers", "campaign_events")),
        *(f'key:"features/{name}"' for name in ("base", "campaign", "departments", "matrix")),
        *(f'group:"{name}"' for name in ("training", "scoring", "monitoring")),
    )
)
"""A selection of assets that a reader can follow: few of the tables and groups of features."""
OPEN = ",".join(f"global@global:{group}" for group in ("ingestion", "features", "scoring"))
"""Groups of assets that the lineage draws asset by asset; the others are one box each."""


def without_panel(page: Page) -> None:
    """Close the panel of MLflow's assistant, which opens by itself."""
    panel = page.get_by_role("button", name="Close", exact=True)
    if panel.count():
        panel.first.click()


def to_headlines(page: Page) -> None:
    """The headline metrics of a run in MLflow, without the panel."""
    without_panel(page)
    search = page.get_by_placeholder("Search metrics")
    search.fill("_headline")
    search.scroll_into_view_if_needed()
    page.wait_for_timeout(2_000)


def to_a_list(page: Page) -> None:
    """The list of churn, from the start of the browser of scores."""
    page.get_by_role("link", name="churn", exact=True).click()
    page.wait_for_load_state()


def to_a_customer(page: Page) -> None:
    """The first customer of that list, with the reasons."""
    to_a_list(page)
    page.locator("table a[href^='/customer']").first.click()
    page.wait_for_load_state()
    page.locator("a[href*='reasons=yes']").first.click()
    page.wait_for_load_state()


REPORT = ("pipeline/reports/pages", "pipeline/monitoring/night_report.py", "pipeline/monitoring/attention.py")
BROWSER = ("pipeline/browser", "pipeline/reports/pages/customer.py")
PICTURES = (
    Picture("timeline", "{dagster}/overview/activity/timeline", ("pipeline/runs/in_process.py",), ("nightly",)),
    Picture(
        "lineage",
        f"{{dagster}}/asset-groups~{quote(SHOWN, safe='')}/?expanded={quote(OPEN, safe='')}",
        ("pipeline/assets/common.py",),
        ("transactions", "matrix"),
        ("fetching statuses", "Loading"),
        (1900, 900),
        540,
    ),
    Picture("scores", "{dagster}/assets/scores?view=overview", ("pipeline/assets/scoring.py",), ("model version",)),
    Picture(
        "columns",
        "{dagster}/assets/features/matrix?view=overview",
        ("pipeline/assets/features.py", "pipeline/reports/columns.py"),
        ("Columns",),
    ),
    Picture(
        "evaluation",
        "{dagster}/assets/training/evaluation?view=overview",
        ("pipeline/assets/training_metadata.py",),
        ("Latest check results", "comparison", "legend"),
        size=(1800, 1500),
    ),
    Picture(
        "checks",
        "{dagster}/assets/quarantine?view=checks",
        ("pipeline/assets/ingestion.py",),
        ("faults_within_limit", "Evaluation result"),
        size=(1440, 570),
    ),
    Picture(
        "mlflow-run",
        "{mlflow}/#/{run}" + CLASSIC,
        ("pipeline/training/registration.py",),
        ("Metrics (",),
        then=to_headlines,
    ),
    Picture(
        "mlflow-version",
        "{mlflow}/#/models/ple/versions/{version}" + CLASSIC,
        ("pipeline/reports/pages/card.py",),
        ("champion",),
        then=without_panel,
    ),
    Picture("report-desktop", "{report}", REPORT),
    Picture("report-phone", "{report}", REPORT, size=PHONE),
    Picture("browser-start", "{scores}", BROWSER, ("Customers",)),
    Picture("browser-list", "{scores}", BROWSER, ("Customers",), then=to_a_list),
    Picture("browser-customer", "{scores}", BROWSER, ("Customers",), size=(1440, 1500), then=to_a_customer),
)


def texts_of(file: Path) -> list[str]:
    """Every text in a Python file, in order: literals, parts of formatted ones, docstrings."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def hold(pictures: tuple[Picture, ...], folder: Path = IMAGES) -> None:
    """Note beside the pictures which texts they show."""
    file = folder / DIGESTS
    noted = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    noted |= {picture.name: picture.texts() for picture in pictures}
    kept = {picture.name: noted[picture.name] for picture in PICTURES if picture.name in noted}
    file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def places(addresses: Mapping[str, str], home: Path) -> dict[str, str]:
    """What the addresses of the pictures name, in a home that is served."""
    ml = addresses["MLflow"]
    version = mlflow(ml, "registered-models/alias", name="ple", alias="champion")["model_version"]
    run = mlflow(ml, "runs/get", run_id=version["run_id"])["run"]["info"]
    return {
        "dagster": addresses["Dagster"],
        "mlflow": ml,
        "scores": addresses["Scores"],
        "run": f"experiments/{run['experiment_id']}/runs/{run['run_id']}",
        "version": version["version"],
        "report": max(home.glob("reports/as_of=*/report.html")).as_uri(),
    }


def take(browser: Browser, picture: Picture, address: str, folder: Path, seconds: int = SECONDS) -> Path:
    """Take a picture and write it as a PNG of at most `MOST_BYTES`.

    Raises:
        playwright.sync_api.Error: the page does not show what it must; `<name>.failed.png` is what it showed.
    """
    from playwright.sync_api import Error

    width, height = picture.size
    page = browser.new_page(
        viewport={"width": width, "height": height}, device_scale_factor=2 if picture.size == PHONE else 1
    )
    try:
        page.set_default_timeout(seconds * 1_000)
        page.goto(address, wait_until="domcontentloaded")
        for text in picture.shows:
            page.get_by_text(text).filter(visible=True).first.wait_for()
        for text in picture.gone:
            page.get_by_text(text).first.wait_for(state="hidden")
        page.wait_for_timeout(2_000)
        if picture.then is not None:
            picture.then(page)
        raw = page.screenshot(clip={"x": picture.left, "y": 0, "width": width - picture.left, "height": height})
    except Error:
        page.screenshot(path=folder / f"{picture.name}.failed.png")
        raise
    finally:
        page.close()
    file = folder / f"{picture.name}.png"
    file.write_bytes(small(raw))
    return file


def small(raw: bytes) -> bytes:
    """A PNG with as many colours of a palette as `MOST_BYTES` allow."""
    from PIL import Image

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
    names = [picture.name for picture in PICTURES]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, help="a home with a night in it (default: one is made)")
    parser.add_argument("--data-dir", type=Path, help="the delivery of that home, where its data set brings none")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="these pictures only")
    parser.add_argument("--hold", nargs="*", choices=names, metavar="NAME", help="take none: these (or all) still hold")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for a page to load (default: %(default)s)")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    given = parser.parse_args()
    if given.hold is not None:
        hold(tuple(picture for picture in PICTURES if picture.name in (given.hold or names)))
        return
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
    from playwright.sync_api import sync_playwright

    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with served(home, delivery) as addresses, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=as_root)
        named = places(addresses, home)
        for picture in PICTURES:
            if picture.name not in given.only:
                continue
            start = time.monotonic()
            file = take(browser, picture, picture.address.format(**named), given.out, given.seconds)
            hold((picture,), given.out)
            print(f"{file} {file.stat().st_size / 1_000:.0f} kB, {time.monotonic() - start:.0f} s", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
