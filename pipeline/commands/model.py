"""`ple model`: the size of the network."""

import click

from pipeline.commands.common import settings_of


@click.command()
def model() -> None:
    """Print the network's parameters by module, beside what the design allows for them (all 734 columns, 16 tasks)."""
    settings = settings_of()
    from feature_assets import registry
    from ple_model.config import InputConfig, ModelConfig
    from ple_model.interpretation.parameters import table
    from ple_model.model import PLEClusterAdaTT

    inputs = InputConfig(
        columns=registry.names(), present=tuple(range(len(registry.names()))), normalised=registry.normalised()
    )
    click.echo(table(PLEClusterAdaTT(ModelConfig.from_dict({"inputs": inputs, **settings.network.to_dict()}))))
