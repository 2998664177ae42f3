"""`contimg epoch ...`: what is done to whole epochs by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from contimg_assets.cli.app import app, tell_troubles
from contimg_assets.cli.console import command, console, open_project

epoch_app = typer.Typer(help="Remove epochs.", no_args_is_help=True)
app.add_typer(epoch_app, name="epoch")


@command(epoch_app, "delete")
def delete(
    epoch: Annotated[str, typer.Argument(help="Epoch, whose delivery must have been moved out of the incoming folder")],
) -> None:
    """Remove an epoch from the store and the products, and fold the later epochs again without it.

    Example: contimg epoch delete 2026-01-25T2200
    """
    from contimg_assets.orchestration.runs.in_process import delete_epoch
    from contimg_assets.orchestration.runs.instance import open_instance

    project = open_project()
    with open_instance(project.config.root) as instance:
        report = delete_epoch(project, instance, epoch)
    console.print(f"Epoch {epoch} is gone; {len(report.run_ids)} Dagster run(s) made the later epochs again.")
    if not tell_troubles(report):
        raise typer.Exit(1)


@epoch_app.callback()
def _group() -> None:
    """A callback keeps `delete` a command of a group, however few commands there are."""
