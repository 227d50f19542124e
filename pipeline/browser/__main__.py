"""Serve the browser of scores of a home, behind the guard.

python -m pipeline.browser --port N [--listen ADDRESS]
"""

import click

from pipeline.servers.webserver import HOST


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--listen", default=HOST, show_default=True, help="Address to listen on.")
def main(port: int, listen: str) -> None:
    """Serve the scores of $PLE_HOME. Wherever it listens, it answers as 127.0.0.1 or localhost only."""
    import uvicorn

    from feature_assets.kernels.compiled import use_cache
    from pipeline.browser.app import application
    from pipeline.definitions import build_resources
    from pipeline.home.folder import Home
    from pipeline.servers.webserver import own_pages_only
    from pipeline.settings import load_settings

    settings = load_settings()
    use_cache(Home(settings.home).kernels)
    resources = build_resources(settings)
    app = application(resources["tracking"], resources["lake"], settings.load_dataset())
    uvicorn.run(own_pages_only(app, port), host=listen, port=port, log_level="warning")


if __name__ == "__main__":
    main()
