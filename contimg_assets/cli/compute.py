"""`contimg compute`: where the work is done, Slurm's job script, and whether the workers can do it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, open_project


@command(app)
def compute(
    show: Annotated[bool, typer.Option("--show", help="Show the script of the jobs that Slurm would be given")] = False,
    try_: Annotated[
        bool, typer.Option("--try", help="Connect to Dask, compare versions, and look whether workers see the store")
    ] = False,
) -> None:
    """Say where the work on epochs is done (section compute). Example: contimg compute --try"""
    config = open_project().config
    section = config.compute
    if section.engine != "dask":
        if show or try_:
            raise typer.BadParameter(f"compute.engine is {section.engine}; --show and --try are for engine: dask")
        console.print(f"engine {section.engine}, {section.n_workers} helpers at most")
        return
    from contimg_assets.pipeline import dask_engine
    from contimg_assets.pipeline.dask_cluster import job_script

    dask_engine.require(section)
    if show:
        if section.cluster != "slurm":
            raise typer.BadParameter("--show is for cluster: slurm; nothing else is given jobs")
        print(job_script(section), end="")
        return
    where = section.address or f"{section.n_workers} workers of a {section.cluster or 'local'} cluster"
    console.print(f"engine dask: {where}", soft_wrap=True)
    if try_:
        with dask_engine.connected(section) as connection:
            told = connection.checked(config.store).told
        for name, value in told.items():
            console.print(f"{name}: {escape(value)}", soft_wrap=True)
        console.print("All workers have this run's versions, and see the store.")
