"""`ple model`: the size of the network."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pipeline.commands.common import settings_of
from pipeline.commands.printing import json_option, print_json, show_records

if TYPE_CHECKING:
    from ple_model.interpretation.parameters import Line


@click.command()
@json_option
def model(as_json: bool) -> None:
    """Print the network's parameters by module, beside what the design allows (reference columns, 16 tasks)."""
    settings = settings_of()
    from feature_assets import registry
    from feature_assets.labels import every_task
    from pipeline.training.model import network_for
    from ple_model.config import InputConfig, ModelConfig
    from ple_model.interpretation.parameters import lines
    from ple_model.model import PLEClusterAdaTT

    inputs = InputConfig(columns=registry.names(), present=registry.reference(), normalised=registry.normalised())
    values = network_for(settings, [task.name for task in every_task() if task.default], {})
    config = ModelConfig.from_dict({"inputs": inputs, **values})
    found = lines(PLEClusterAdaTT(config))
    if as_json:
        print_json({"preset": settings.preset, "modules": [asdict(line) | {"fits": line.fits} for line in found]})
        return
    total = sum(line.parameters for line in found[:-1])
    show_records([_row(line, total) for line in found], right=("parameters", "share", "budget", "off by"))
    if settings.preset != "reference":
        click.echo(f"preset {settings.preset}; the budgets are those of the preset reference")


def _row(line: "Line", total: int) -> dict[str, str]:
    return {
        "module": line.module,
        "parameters": f"{line.parameters:,}",
        "share": f"{line.parameters / total:.1%}",
        "budget": "" if line.budget is None else f"{line.budget:,}",
        "off by": "" if line.budget is None else f"{line.parameters / line.budget - 1:+.1%}",
        "": "" if line.fits else f"more than ±{line.leeway:.0%}",
    }
