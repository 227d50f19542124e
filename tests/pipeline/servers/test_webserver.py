"""The guard before Dagster's webserver: who may ask what."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from pipeline.home.folder import Home
from pipeline.servers.interfaces import free_port, server_environment
from pipeline.servers.webserver import OwnPagesOnly
from pipeline.settings import REPOSITORY, WORKSPACE, Settings

HOST, ORIGIN = "127.0.0.1:3000", "http://127.0.0.1:3000"
JSON = {"content-type": "application/json"}


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await PlainTextResponse(f"passed {Request(scope).method}")(scope, receive, send)


def ask(method: str, path: str, headers: dict[str, str], query: str = "", kind: str = "http") -> Any:
    """Status of the answer, or for a websocket the type of the first message."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in ({"host": HOST} | headers).items()],
    }
    asyncio.run(OwnPagesOnly(_app, [HOST, "localhost:3000"])(scope, None, send))  # type: ignore[arg-type]
    return sent[0]["status"] if kind == "http" else sent[0]["type"]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/runs", {}),
        (
            "GET",
            "/assets/features",
            {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        ),  # a link leads here
        ("POST", "/graphql", {"origin": ORIGIN, "sec-fetch-site": "same-origin", **JSON}),
        ("POST", "/graphql", JSON),  # a script of this machine
        ("GET", "/runs", {"host": "localhost:3000"}),
    ],
)
def test_own_pages_and_own_scripts_pass(method: str, path: str, headers: dict[str, str]) -> None:
    assert ask(method, path, headers) == 200


def test_the_queries_of_dagsters_own_pages_pass() -> None:
    """They name their operation in the address. Without them every page stays blank."""
    headers = {"origin": ORIGIN, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", **JSON}
    assert ask("POST", "/graphql", headers, "op=CompletedRunTimelineQuery") == 200


@pytest.mark.parametrize(
    ("method", "headers", "query"),
    [
        ("GET", {}, "query=mutation{launchRun}"),  # an image's address
        ("GET", {}, "op=Launch"),
        ("POST", JSON, "op=Launch&query=mutation{launchRun}"),
        ("GET", {"origin": "https://elsewhere.example"}, "query=mutation{launchRun}"),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "query=mutation{launchRun}"),
        ("POST", {"origin": "https://elsewhere.example", **JSON}, ""),
        ("POST", {"origin": "null", **JSON}, ""),
        ("POST", {"sec-fetch-site": "cross-site", **JSON}, ""),
        ("POST", {"sec-fetch-site": "same-site", **JSON}, ""),
        ("POST", {"content-type": "text/plain"}, ""),  # a form's
        ("POST", {}, ""),
        ("POST", {"host": "elsewhere.example", **JSON}, ""),  # a name that was made to lead here
        ("POST", {"host": "127.0.0.1:3001", **JSON}, ""),
        ("POST", JSON, "query=mutation{launchRun}"),
    ],
)
def test_what_another_site_can_send_starts_nothing(method: str, headers: dict[str, str], query: str) -> None:
    assert ask(method, "/graphql", headers, query) == 403


def test_subscriptions_of_other_origins_are_closed() -> None:
    assert ask("GET", "/graphql", {"origin": ORIGIN}, kind="websocket") == "websocket.accept"
    assert ask("GET", "/graphql", {"origin": "https://elsewhere.example"}, kind="websocket") == "websocket.close"


@pytest.mark.trial
def test_the_served_pages_start_nothing(tmp_path: Path) -> None:
    """The real webserver on a new home: it answers queries, and neither a foreign page nor its own starts a run."""
    home = Home(tmp_path / "home")
    home.prepare()
    port = free_port(3300)
    command = [sys.executable, "-m", "pipeline.servers.webserver", "--workspace", str(WORKSPACE)]
    environment = server_environment(home, Settings(home=home.root))
    process = subprocess.Popen([*command, "--port", str(port)], env=environment, cwd=REPOSITORY)
    mutation = 'mutation { deletePipelineRun(runId: "none") { __typename } }'
    try:
        until = time.monotonic() + 120
        while _post(port, "{ version }", {})[0] != 200:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(1)
        assert "version" in _post(port, "{ version }", {})[1]["data"]
        assert "UnauthorizedError" in json.dumps(_post(port, mutation, {})[1])
        assert _post(port, "{ version }", {"Origin": "https://elsewhere.example"})[0] == 403
        assert _post(port, "{ version }", {"Host": "elsewhere.example"})[0] == 403
    finally:
        process.terminate()
        process.wait(timeout=30)


def _post(port: int, query: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Status and body of a query to GraphQL; 0 where nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = json.dumps({"query": query})
        connection.request("POST", "/graphql?op=Asked", body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if answer.status == 200 else text
    except OSError:
        return 0, None
    finally:
        connection.close()
