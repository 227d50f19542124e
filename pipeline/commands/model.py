"""`ple model`: the size of the network."""

import click

from pipeline.commands.common import settings_of


@click.command()
def model() -> None:
    """Print the network's parameters by module, beside what the design allows (reference columns, 16 tasks)."""
    settings = settings_of()
    from feature_assets import registry
    from feature_assets.labels import every_task
    from pipeline.training.model import network_for
    from ple_model.config import InputConfig, ModelConfig
    from ple_model.interpretation.parameters import table
    from ple_model.model import PLEClusterAdaTT

    inputs = InputConfig(columns=registry.names(), present=registry.reference(), normalised=registry.normalised())
    values = network_for(settings, [task.name for task in every_task() if task.default], {})
    config = ModelConfig.from_dict({"inputs": inputs, **values})
    click.echo(table(PLEClusterAdaTT(config)))
    if settings.preset != "reference":
        click.echo(f"preset {settings.preset}; the budgets are those of the preset reference")
