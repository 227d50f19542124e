"""`ple doctor`: what is wrong with the installation."""

import sys

import click

from pipeline.commands.common import deployment


@click.command()
def doctor() -> None:
    """Look for what is wrong with this installation, and say what to do.

    Reads the data set's description, the disk, runs and their queue, the champion, the newest scores, and what the next
    night would remove. Changes nothing. Exit status 1 where something is wrong.
    """
    import dagster as dg

    from pipeline.definitions import build_resources
    from pipeline.doctor import Deployment, examine

    settings, home = deployment()
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        found = examine(Deployment(settings, home, instance, build_resources(settings)["tracking"]))
    width = max(len(finding.check) for finding in found)
    for finding in found:
        mark = click.style("✗", fg="red") if finding.problems else click.style("✓", fg="green")
        click.echo(f"{mark} {finding.check:<{width}}  {finding.fact}".rstrip())
        for problem in finding.problems:
            click.echo(f"    {problem}")
    sys.exit(1 if any(finding.problems for finding in found) else 0)
