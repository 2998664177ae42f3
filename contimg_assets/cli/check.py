"""`contimg check`: is what the project keeps what was written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, open_project


@command(app)
def check(
    store: Annotated[bool, typer.Option("--store", help="Hash every table of the store")] = False,
    mend: Annotated[
        bool, typer.Option("--mend", help="Let what is damaged count as never made: `contimg run` makes it again")
    ] = False,
) -> None:
    """Compare what the store holds with what was written; exit status 1 if anything is damaged.

    Example: contimg check
    """
    from contimg_assets.pipeline.store_check import check_store, mend_store

    if not store:
        raise typer.BadParameter("say what to check: --store")
    project = open_project()
    files: list[Path] = []
    faults = check_store(project, files.append)
    for fault in faults:
        console.print(f"[bold red]damaged:[/] {escape(str(fault))}", soft_wrap=True)
    if not faults:
        console.print(f"{len(files)} file(s) of the store are what was written.")
        return
    if mend:
        lasting = mend_store(project, faults)
        n_mended = len(faults) - len(lasting)
        console.print(f"{n_mended} of them count as never made: `contimg run` makes them again.", soft_wrap=True)
    else:
        console.print("`contimg check --store --mend` lets them count as never made.", soft_wrap=True)
    raise typer.Exit(1)
