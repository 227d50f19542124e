"""`ple backup` and `ple restore`."""

from pathlib import Path

import click

from pipeline.commands.common import deployment, home_without_settings
from pipeline.commands.printing import json_option, print_json
from pipeline.commands.running import held_home, say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def backup(folder: Path, as_json: bool) -> None:
    """Write a backup of the home into FOLDER, which must not exist yet.

    Waits for no night: a home in use says by whom. The backup is whole or not there, and has a digest of every file.
    `ple restore FOLDER` makes a home of it.
    """
    from pipeline.upkeep.backup import back_up, lies_elsewhere

    settings, home = deployment()
    with held_home(home, "ple backup"):
        made = back_up(home, folder)
    elsewhere = list(lies_elsewhere(home, settings.mlflow_uri))
    if as_json:
        told = {"home": home.root, "folder": folder, "files": len(made.files), "bytes": made.bytes}
        print_json({**told, "made_at": made.made_at, "lies_elsewhere": elsewhere})
    else:
        click.echo(f"{len(made.files):,} files, {made.bytes / 2**20:,.1f} MiB of {home.root} are in {folder}")
    for words in elsewhere:
        say(f"! {words}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def restore(folder: Path, as_json: bool) -> None:
    """Make the backup in FOLDER the home that PLE_HOME names, which must not exist yet.

    Every file is verified by its digest. Look at it with `ple doctor` afterwards.
    """
    from pipeline.upkeep.backup import restore as restored

    home = home_without_settings()
    made = restored(folder, home)
    if as_json:
        print_json({"home": home.root, "backup_of": made.home, "made_at": made.made_at, "files": len(made.files)})
    else:
        click.echo(f"{home.root} is the home {made.home} of {made.made_at} UTC; look at it with `ple doctor`")
