"""`ple plan`: hours, memory, storage and cost of a night of so many customers, and what is exhausted first."""

from typing import Any

import click

from pipeline.commands.common import settings_of
from pipeline.commands.printing import json_option, print_json, show, show_facts, show_records


@click.command()
@click.option("--customers", type=float, required=True, help="How many, such as 50e6.")
@click.option("--events-per-customer", type=float, help="Transactions of a customer in the delivery. Default 175.")
@click.option("--cores", type=float, default=2.0, show_default=True, help="Free cores of the machine.")
@click.option("--hours", type=float, default=8.0, show_default=True, help="What a night may last.")
@click.option("--memory", type=float, default=8.0, show_default=True, help="GiB that a night may take.")
@click.option("--disk", type=float, default=1_000.0, show_default=True, help="GB that the home may take.")
@click.option("--at-a-time", type=int, help="Customers of a block. Default: the setting customers_at_a_time.")
@click.option("--core-hour", type=float, help="Price of a core for an hour. Without it no such cost is told.")
@click.option("--gb-month", type=float, help="Price of a GB of disk for a month. Without it no such cost is told.")
@json_option
def plan(
    customers: float,
    events_per_customer: float | None,
    at_a_time: int | None,
    core_hour: float | None,
    gb_month: float | None,
    as_json: bool,
    **machine: float,
) -> None:
    """Say what a night of so many customers takes, from measured unit costs, and what becomes the limit first
    (docs/capacity.md). Reads no data; what is kept and how often it trains is as this deployment's settings say.
    """
    from pipeline.capacity.limits import Machine
    from pipeline.capacity.measured import measured
    from pipeline.capacity.night import Load, PlanError
    from pipeline.capacity.plan import plan as planned

    settings = settings_of()
    events = measured().usual_events if events_per_customer is None else events_per_customer
    given = {{"memory": "memory_gib", "disk": "disk_gb"}.get(name, name): value for name, value in machine.items()}
    try:
        load = Load(customers, events, settings.customers_at_a_time if at_a_time is None else at_a_time)
        found = planned(load, Machine(**given), settings, core_hour, gb_month)
    except PlanError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    machine, trains = found["machine"], found["training"]
    click.echo(
        f"A night of {found['customers']:,.0f} customers with {found['events_per_customer']:,g} events each, "
        f"on {machine['cores']:g} cores\n"
    )
    rows = [(step["step"], duration(step["hours"]), f"{step['core_hours']:,.2f}") for step in found["steps"]]
    rows.append(("night", duration(found["hours"]), f"{found['core_hours']:,.2f}"))
    show(rows, ["step", "time", "core-hours"], right=("time", "core-hours"))
    click.echo()
    stored = [
        {"on disk": row["table"], "GB a night": f"{row['night_gb']:,.2f}", "GB kept": f"{row['kept_gb']:,.1f}"}
        for row in found["storage"]
    ]
    show_records(stored, right=("GB a night", "GB kept"))
    click.echo()
    facts = {
        "memory": f"{found['memory_gib']:,.1f} GiB",
        "storage": f"{found['kept_gb']:,.1f} GB once as many nights are kept as the settings say",
        "training": f"{duration(trains['hours_on_two_cores'])} on two cores and {trains['memory_gib']:.1f} GiB, every "
        f"{trains['every_days']} days, however many customers there are",
        "cost": " · ".join(f"{name} {value:,.2f}" for name, value in found["cost"].items())
        or "no price is given (--core-hour, --gb-month)",
        "first limit": found["first_limit"],
    }
    show_facts(facts, red=() if found["fits"] else ("first limit",))
    click.echo("\nLimits, the one first that the fewest customers reach")
    show_records([_row(limit) for limit in found["limits"]], right=("this night", "there is", "customers"))
    click.echo("\nAssumed")
    for each in found["assumptions"]:
        click.echo(f"  {each}")


def _row(limit: dict[str, Any]) -> dict[str, str]:
    most = limit["customers"]
    return {
        "limit": limit["what"],
        "this night": f"{limit['needed']:,.4g}",
        "there is": f"{limit['bound']:,.4g}",
        "unit": limit["unit"],
        "customers": "never" if most is None else f"{most:,.3g}",
        "": "exceeded" if limit["exceeded"] else "",
    }


def duration(hours: float) -> str:
    """Hours in the unit that fits them."""
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
