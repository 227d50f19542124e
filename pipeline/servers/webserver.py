"""Dagster's webserver, guarded: it looks at who asks, and shows without starting anything unless it is told to.

    python -m pipeline.servers.webserver --workspace FILE --port N [--listen ADDRESS] [--writable]

The webserver itself obeys any page that a browser happens to have open: it takes `GET /graphql?query=mutation…`, from
every origin. Here a request has to name this server as its host, must not come from another site's page, and a query
comes by POST as JSON, which no foreign page can send without asking first. Its address may name the query and no more
(`?op=…`), as the addresses of Dagster's own pages do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
OWN_SITE = (None, "none", "same-origin")
"""`Sec-Fetch-Site` of what a person typed and of what this server's own pages ask for."""


class OwnPagesOnly:
    """ASGI middleware that answers 403 to requests for another host or from another site's page."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, tuple(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] in ("http", "websocket") and (reason := self.refusal(scope)):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": reason})
            else:
                await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def refusal(self, scope: Scope) -> str:
        """Why a request is refused; empty where it may pass."""
        headers = Headers(scope=scope)
        if headers.get("host") not in self.hosts:
            return f"this server answers as {' or '.join(self.hosts)} only"
        origin = headers.get("origin")
        if origin is not None and origin not in [f"http://{host}" for host in self.hosts]:
            return "a page of another origin may ask nothing here"
        if scope["type"] == "websocket":
            return ""
        reads_page = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") not in OWN_SITE and not reads_page:
            return "a page of another site may ask nothing here"
        if scope["path"].rstrip("/").endswith("/graphql"):
            named = {"op"} if scope["method"] == "POST" else set()
            if not set(QueryParams(scope["query_string"])) <= named:
                return "a query comes by POST, not in the address"
            if scope["method"] == "POST" and not headers.get("content-type", "").startswith("application/json"):
                return "a query comes as application/json"
        return ""


def guarded(context: Any, port: int) -> ASGIApp:
    """Dagster's webserver of a workspace behind the guard."""
    from dagster_webserver.app import create_app_from_workspace_process_context

    return own_pages_only(create_app_from_workspace_process_context(context), port)


def own_pages_only(app: ASGIApp, port: int) -> OwnPagesOnly:
    """An application behind the guard, answering at a port of loopback."""
    return OwnPagesOnly(app, [f"{name}:{port}" for name in NAMES])


@click.command()
@click.option("--workspace", required=True, help="File that names the code location.")
@click.option("--port", type=int, required=True)
@click.option("--listen", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--writable", is_flag=True, help="Runs may be started, stopped and deleted.")
def main(workspace: str, port: int, listen: str, writable: bool) -> None:
    """Serve the instance of $DAGSTER_HOME. Wherever it listens, it answers as 127.0.0.1 or localhost only."""
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext  # no public way leads to a read-only webserver
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.version import __version__

    with (
        DagsterInstance.get() as instance,
        WorkspaceProcessContext(
            instance, WorkspaceFileTarget([workspace]), version=__version__, read_only=not writable
        ) as context,
    ):
        uvicorn.run(guarded(context, port), host=listen, port=port, log_level="warning")


if __name__ == "__main__":
    main()
