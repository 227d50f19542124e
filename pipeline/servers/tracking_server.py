"""MLflow's server without its assistant.

    python -m pipeline.servers.tracking_server --port N [--listen ADDRESS] --artifacts URI

For whoever asks from this machine, MLflow's assistant runs a coding agent on it, and no setting turns that off
(mlflow 3.17). Here its addresses answer 403, and those of the gateway to language models too. The store is that of
$MLFLOW_BACKEND_STORE_URI. `mlflow server` offers the same but for that; it would start three processes more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from starlette.responses import PlainTextResponse

from pipeline.servers.webserver import HOST

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

ASSISTANT = "/mlflow/assistant"
"""In the path of each address of the assistant; no other address of MLflow has it."""
SWITCHED_OFF = {"MLFLOW_ENABLE_AI_GATEWAY": "false", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""What MLflow does have switches for: calls of language models, and jobs that judge their answers."""


class WithoutAssistant:
    """ASGI middleware that answers 403 to whatever is meant for MLflow's assistant."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on everything else."""
        if scope["type"] == "http" and ASSISTANT in scope["path"].lower():
            await PlainTextResponse("MLflow's assistant is off: it would run an agent here\n", 403)(
                scope, receive, send
            )
            return
        await self.app(scope, receive, send)


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--listen", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--artifacts", required=True, help="Where new experiments keep their files.")
def main(port: int, listen: str, artifacts: str) -> None:
    """Serve the store of $MLFLOW_BACKEND_STORE_URI."""
    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    os.environ.update(SWITCHED_OFF)
    import uvicorn  # before mlflow.server, which sees by it that it serves
    from mlflow.server import constants
    from mlflow.server.handlers import initialize_backend_stores

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = artifacts
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    initialize_backend_stores(store, store, artifacts)
    from mlflow.server.fastapi_app import app

    uvicorn.run(WithoutAssistant(app), host=listen, port=port, log_level="warning")


if __name__ == "__main__":
    main()
