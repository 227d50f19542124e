"""`ple scores`: a sample of the published scores."""

import click

from pipeline.commands.common import deployment, parse_day


@click.command()
@click.option("--as-of", help="As-of date; also $AS_OF. Default: the newest one that is scored.")
@click.option("--rows", default=5, show_default=True, help="How many customers to show.")
def scores(as_of: str | None, rows: int) -> None:
    """Show a sample of the scores of one as-of date."""
    import polars as pl

    _, home = deployment()
    folders = sorted((home.lake / "scores").glob("as_of=*"))
    day = parse_day(as_of)
    if day:
        folders = [f for f in folders if f.name == f"as_of={day}"]
    if not folders:
        raise click.ClickException(f"no scores {f'of {day}' if day else 'yet'} in {home.lake / 'scores'}")
    frame = pl.read_parquet(folders[-1] / "*.parquet", hive_partitioning=False).head(rows)
    width = max(len(name) for name in frame.columns)
    for name in frame.columns:  # one line a column: there are more columns than fit side by side
        click.echo(f"{name:<{width}}  " + "  ".join(f"{_short(value):<28}" for value in frame[name].to_list()).rstrip())


def _short(value: object) -> str:
    """A value in at most 28 characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = " ".join(_short(item) for item in value)
        return shown if len(shown) <= 28 else shown[:27] + "…"
    return str(value)[:28]
