"""`ple backup` and `ple restore`."""

from pathlib import Path

import click

from pipeline.commands.common import deployment, home_without_settings
from pipeline.commands.running import held_home, say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def backup(folder: Path) -> None:
    """Write a backup of the home into FOLDER, which must not exist yet.

    Waits for no night: a home in use says by whom. The backup is whole or not there, and has a digest of every file.
    `ple restore FOLDER` makes a home of it.
    """
    from pipeline.backup import back_up, lies_elsewhere

    settings, home = deployment()
    with held_home(home, "ple backup"):
        made = back_up(home, folder)
    click.echo(f"{len(made.files):,} files, {made.bytes / 2**20:,.1f} MiB of {home.root} are in {folder}")
    for words in lies_elsewhere(home, settings.mlflow_uri):
        say(f"! {words}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def restore(folder: Path) -> None:
    """Make the backup in FOLDER the home that PLE_HOME names, which must not exist yet.

    Every file is verified by its digest. Look at it with `ple doctor` afterwards.
    """
    from pipeline.backup import restore as restored

    home = home_without_settings()
    made = restored(folder, home)
    click.echo(f"{home.root} is the home {made.home} of {made.made_at} UTC; look at it with `ple doctor`")
