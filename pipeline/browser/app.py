"""The addresses of the browser and what answers them. Every one is read by GET and changes nothing.

/                 a date, a customer, a list
/customer         one customer: predictions, reasons on request, history
/list, /list.csv  customers by the prediction of one task
/style.css        the style
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import dagster as dg
import polars as pl
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.browser import csv_file
from pipeline.browser.asked import MOST_ROWS, ListAsked, NotAllowed, Nothing, OneAsked, asked
from pipeline.browser.history import history
from pipeline.browser.listing import Listing, listing
from pipeline.browser.night import Night, Nights
from pipeline.reports.pages.page import Section, templates
from pipeline.resources.publication import AS_OF, PublicationError
from pipeline.scores.one_customer import known_tasks, one_customer
from pipeline.scores.table import UnknownCustomer, score_meanings, tasks_in
from pipeline.training.row_groups import SEGMENTS

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from feature_assets.data.dataset import DatasetConfig
    from pipeline.resources.lake import Lake
    from pipeline.resources.tracking import Tracking

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses name customers
    "Cache-Control": "no-store",
}


class Headers:
    """ASGI middleware that puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        await self.app(scope, receive, with_headers)


@dataclass(frozen=True)
class Browser:
    """The pages of one deployment.

    Attributes:
        tracking: its MLflow.
        nights: the published dates of its lake.
        dataset: the description of its data set.
    """

    tracking: Tracking
    nights: Nights
    dataset: DatasetConfig
    _by_version: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    _computing: threading.Lock = field(default_factory=threading.Lock)

    def start(self, request: Request) -> Response:
        """The start: facts, the forms, the tasks."""
        return self._page("start.html.j2", self._night(asked(Nothing, request.query_params.multi_items())), asked=None)

    def list(self, request: Request) -> Response:
        """A page of a list."""
        wanted, night, found = self._listing(request)
        pages = max(-(-found.frame.height // wanted.rows), 1)
        if wanted.page > pages:
            raise NotAllowed(f"page: the list has {pages}")
        shown = found.frame.slice((wanted.page - 1) * wanted.rows, wanted.rows)

        def link(path: str = "list", **changes: Any) -> str:
            return f"/{path}?{urlencode(wanted.address(as_of=date.fromisoformat(night.day), **changes))}"

        task = next((task for task in self._tasks(night) if task["name"] == wanted.task), {"name": wanted.task})
        own: dict[str, Any] = {"found": found, "shown": _for_people(shown), "pages": pages, "link": link, "task": task}
        return self._page("list.html.j2", night, asked=wanted, **own)

    def csv(self, request: Request) -> Response:
        """A whole list as a file."""
        wanted, night, found = self._listing(request)
        frame = found.frame.select("customer_id", pl.lit(night.day).alias(AS_OF), pl.exclude("customer_id"))
        name = f"{wanted.task}_{night.day}.csv"
        kept = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(csv_file.parts(frame), media_type="text/csv; charset=utf-8", headers=kept)

    def customer(self, request: Request) -> Response:
        """One customer."""
        from pipeline.reports.pages.customer import customer_page
        from pipeline.scores.reasons import BACKGROUND

        wanted = asked(OneAsked, request.query_params.multi_items())
        night, explained = self._night(wanted), wanted.reasons == "yes"
        try:
            with self._computing if explained else nullcontext():  # one at a time: it takes every core that it may
                found = one_customer(self.tracking, self.nights.lake, wanted.id, night.day, explained)
        except UnknownCustomer as error:
            return self._page("unknown.html.j2", night, 404, asked=None, error=str(error), near=error.near)
        page = customer_page(
            found.scores,
            found.tasks,
            found.reasons,
            found.values,
            score_meanings(found.tasks) if all("kind" in task for task in found.tasks) else {},
            BACKGROUND,
            self._history(wanted.id, night.day),
        )
        own: dict[str, Any] = {"page": page, "untold": found.untold, "explained": explained, "customer": wanted.id}
        return self._page("customer.html.j2", night, asked=None, **own)

    def style(self, _: Request) -> Response:
        """The style of the report and what the browser's own pages need."""
        text = "".join(_TEMPLATES.get_template(name).render() for name in ("style.css", "browser.css"))
        return Response(text, media_type="text/css")

    def _listing(self, request: Request) -> tuple[ListAsked, Night, Listing]:
        wanted = asked(ListAsked, request.query_params.multi_items())
        night = self._night(wanted)
        return wanted, night, listing(night, wanted, self._tasks(night))

    def _night(self, wanted: Nothing) -> Night:
        """The date that is asked for, or the newest one."""
        days = self.nights.days()
        if not days:
            raise PublicationError("no scores are published yet: run a night (ple nightly)")
        day = days[-1] if wanted.as_of is None else wanted.as_of.isoformat()
        if day not in days:
            raise PublicationError(f"no scores of {day} are published; the newest are of {days[-1]}")
        return self.nights.night(day)

    def _tasks(self, night: Night) -> Sequence[Mapping[str, Any]]:
        """The tasks of the version that scored a date; their names alone where it is gone."""
        version = str(night.told["model_version"])
        if not self._by_version.get(version):
            self._by_version[version] = known_tasks(self.tracking, version)
        return self._by_version[version] or [{"name": name} for name in tasks_in(night.schema)]

    def _history(self, customer: str, day: str) -> Sequence[Section]:
        try:
            return history(self.nights.lake.delivered(day), customer, day, self.dataset.zone)
        except dg.Failure as error:
            return [Section(f"Before {day}", f"No history: {error.description}.")]

    def _facts(self, night: Night) -> dict[str, str]:
        told = night.told
        return {
            "Data set": self.dataset.title,
            "As of": f"{night.day}, from events before it",
            "Customers": f"{night.customers:,}",
            "Model": f"version {told['model_version']}",
            **({"Hindsight": "the model was trained on later events"} if told.get("hindsight") else {}),
            **({"Missing tables": ", ".join(told["missing_sources"])} if told.get("missing_sources") else {}),
        }

    def _page(self, template: str, night: Night, status: int = 200, **values: Any) -> Response:
        text = _TEMPLATES.get_template(template).render(
            day=night.day,
            days=self.nights.days()[::-1],
            dataset=self.dataset,
            facts=self._facts(night),
            tasks=self._tasks(night),
            segments=SEGMENTS if "segment" in night.known else (),
            clustered="cluster" in night.known,
            most=MOST_ROWS,
            query=urlencode,
            **values,
        )
        return HTMLResponse(text, status)


def application(tracking: Tracking, lake: Lake, dataset: DatasetConfig) -> ASGIApp:
    """The application of a deployment, without the guard."""
    browser = Browser(tracking, Nights(lake), dataset)
    answers = {
        "/": browser.start,
        "/list": browser.list,
        "/list.csv": browser.csv,
        "/customer": browser.customer,
        "/style.css": browser.style,
    }
    app = Starlette(
        routes=[Route(path, answer, methods=["GET"]) for path, answer in answers.items()],
        exception_handlers={
            NotAllowed: _told(400, "This address asks for what is not allowed"),
            PublicationError: _told(404, "These scores are not there"),
            pl.exceptions.PolarsError: _told(503, "The scores were replaced while they were read: load the page again"),
            FileNotFoundError: _told(503, "The scores were replaced while they were read: load the page again"),
            HTTPException: _http,
            dg.Failure: _told(503, "This home has a problem"),
            Exception: _told(500, "Something went wrong: the log of this server says what", says=False),
        },
    )
    return Headers(app)


def _told(status: int, title: str, says: bool = True) -> Any:
    """An answer to an error: a plain page that says what was wrong."""

    def answer(_: Request, error: Exception) -> Response:
        words = (getattr(error, "description", None) or str(error)) if says else ""
        return HTMLResponse(_TEMPLATES.get_template("error.html.j2").render(title=title, words=words), status)

    return answer


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = "There is no such page" if error.status_code == 404 else error.detail
    answer: Response = _told(error.status_code, title, says=False)(request, error)
    answer.headers.update(error.headers or {})
    return answer


def _for_people(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists as texts, yes and no."""
    return frame.with_columns(
        *(
            pl.col(n).cast(pl.List(pl.String)).list.head(5).list.join(", ")
            for n in frame.columns
            if frame[n].dtype == pl.List
        ),
        pl.col(pl.Boolean).replace_strict({True: "yes", False: "no"}, return_dtype=pl.String),
    )


_TEMPLATES = templates(Path(__file__).parent)
