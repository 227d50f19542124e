"""`ple report`: the report of a night as one HTML file."""

import webbrowser
from pathlib import Path

import click

from pipeline.commands.common import deployment, parse_day
from pipeline.commands.printing import json_option, print_json
from pipeline.commands.running import say


@click.command()
@click.argument("day", metavar="[DATE]", required=False)
@click.option("--again", is_flag=True, help="Make it again, from what the home holds now.")
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Copy it to a file.")
@json_option
def report(day: str | None, again: bool, show: bool, output: Path | None, as_json: bool) -> None:
    """Print the path of the report of a night (default: the newest date that is scored or has a report).

    A night writes its report; where it is missing it is made from what the lake, MLflow and Dagster still hold. It is
    one file of at most 2 MB that loads nothing, for a browser on a desk or a phone.
    """
    import dagster as dg

    from pipeline.definitions import build_resources
    from pipeline.monitoring.night_report import REPORT, Reporter

    settings, home = deployment()
    resources = build_resources(settings)
    scored = resources["lake"].published("scores").dates()
    known = sorted({*scored, *(file.parent.name.partition("=")[2] for file in home.reports.glob(f"as_of=*/{REPORT}"))})
    if day is None and not known:
        raise click.ClickException("no night yet: run `ple nightly` first")
    as_of = str(parse_day(day)) if day else known[-1]
    if as_of not in known:
        raise click.ClickException(f"no night of {as_of} is known; the newest is {known[-1] if known else 'none'}")
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        reporter = Reporter(settings, resources["lake"], resources["tracking"], instance, say)
        file = reporter.folder(as_of) / REPORT
        if again or not file.exists():
            reporter.write(as_of)
    if output is not None:
        output.write_bytes(file.read_bytes())
    if as_json:
        print_json({"as_of": as_of, "report": output or file})
    else:
        click.echo(output or file)
    if show and not webbrowser.open(file.as_uri()):
        raise click.ClickException(f"no browser could be opened; open {file}")
