"""`ple model`: the size of the network."""

import click

from pipeline.commands.common import settings_of


@click.command()
def model() -> None:
    """Print the network's parameters by module, beside what the design allows for them (the reference
    columns, 16 tasks)."""
    settings = settings_of()
    from feature_assets import registry
    from feature_assets.labels import every_task
    from pipeline.training.model import with_relations
    from ple_model.config import InputConfig, ModelConfig
    from ple_model.interpretation.parameters import table
    from ple_model.model import PLEClusterAdaTT

    inputs = InputConfig(columns=registry.names(), present=registry.reference(), normalised=registry.normalised())
    tasks = [task for task in every_task() if task.default]
    values = with_relations(settings.network, [task.name for task in tasks])
    config = ModelConfig.from_dict({"inputs": inputs, "tasks": [task.for_model() for task in tasks], **values})
    click.echo(table(PLEClusterAdaTT(config)))
