"""`contimg report`: the survey or a night as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, open_project
from contimg_assets.cli.products import open_products


@command(app)
def report(
    epoch: Annotated[str | None, typer.Argument(help="Epoch; the whole survey if not given")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; survey.html or EPOCH.html here if not given")] = None,
) -> None:
    """Write one HTML page with its pictures within, for mail and archives. Example: contimg report --out night.html"""
    from contimg_assets.pipeline.report import write_report

    # Nothing is written before there is something to say.
    open_products()
    file = out or Path(f"{(epoch or 'survey').replace('/', '_')}.html")
    write_report(open_project().config, file, epoch)
    console.print(f"Wrote {escape(str(file))}.", highlight=False, soft_wrap=True)
