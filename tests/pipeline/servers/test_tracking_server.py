"""MLflow's server without its assistant."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from pipeline.servers.tracking_server import ASSISTANT, WithoutAssistant


def answered(path: str) -> int:
    """Status of the answer to a request."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(WithoutAssistant(PlainTextResponse("passed"))(scope, None, send))  # type: ignore[arg-type]
    status: int = sent[0]["status"]
    return status


def test_no_address_of_the_assistant_answers() -> None:
    from mlflow.server.assistant.api import assistant_router

    paths = {getattr(route, "path", "") for route in assistant_router.routes}
    assert len(paths) > 5, "this version of MLflow keeps its assistant elsewhere"
    assert {answered(path) for path in paths} == {403}
    assert answered(next(iter(paths)).upper()) == 403


@pytest.mark.parametrize("path", ["/", "/health", "/ajax-api/2.0/mlflow/runs/search", "/api/2.0/mlflow/runs/get"])
def test_all_else_answers(path: str) -> None:
    assert ASSISTANT not in path
    assert answered(path) == 200
