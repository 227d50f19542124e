"""`ple status`: the deployment in a screenful."""

from typing import Any

import click

from pipeline.commands.common import deployment
from pipeline.commands.printing import json_option, print_json, show_facts

LONGEST = 300
"""Characters of a reason; `--json` has it whole."""


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Say in a screenful how this deployment stands: champion, newest scores, what runs and waits, the daemon,
    schedules, the last night, the last failure, and what needs a look. Changes nothing."""
    import dagster as dg

    from pipeline.definitions import build_resources
    from pipeline.deployment import Deployment
    from pipeline.upkeep.status import status_of

    settings, home = deployment()
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        tracking = build_resources(settings)["tracking"]
        found = status_of(Deployment(settings, home, instance, tracking))
    if as_json:
        print_json(found)
        return
    show_facts({name: _words(name, told) for name, told in found.items() if name != "look"})
    look = found["look"]
    if not look:
        click.echo("\nNothing needs a look.")
        return
    looks = [{"what": "unknown", "words": look["unknown"], "do": ""}] if isinstance(look, dict) else look
    click.echo("\nNeeds a look")
    for each in looks:
        click.echo(click.style(f"  {each['what']}", bold=True) + f": {_cut(each['words'])}")
        if each["do"]:
            click.echo(f"    what to do: {each['do']}")


def _words(name: str, told: Any) -> str:
    """One line about a part."""
    if isinstance(told, dict) and "unknown" in told:
        return f"unknown: {told['unknown']}"
    if name == "next tick" and told is None:
        return "none: the schedule is off"
    if not told:
        return "none"
    if name == "daemon":
        dead = [serves for serves, lives in told.items() if not lives]
        if len(dead) == len(told):
            return "not running (`ple ui` starts it)"
        return f"lives, but nothing serves {', '.join(dead)}" if dead else "lives"
    if name == "automation":
        on, off = ([each for each, lit in told.items() if lit is wanted] for wanted in (True, False))
        return " · ".join(part for part in (_names("on", on), _names("off", off)) if part)
    if isinstance(told, list):
        return _cut("; ".join(told))
    if isinstance(told, dict):
        return _cut(" · ".join(f"{key} {value}" for key, value in told.items()))
    return str(told)


def _names(word: str, names: list[str]) -> str:
    return f"{word}: {', '.join(names)}" if names else ""


def _cut(text: str) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
