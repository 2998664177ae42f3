"""`contimg plan`: time, memory and disk of a survey that is not there yet, from small ones that are measured now."""

from __future__ import annotations

import json as json_
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, error_console

if TYPE_CHECKING:
    from contimg_assets.planning import CostModel, Measured, Plan, SurveySize

# Beyond so many times the detections of the largest measured survey no plan was compared with a run.
_COMPARED_UP_TO = 9.3


@command(app)
def plan(
    sources: Annotated[int, typer.Option(min=1, help="Sources of the whole survey")],
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs")],
    images: Annotated[int, typer.Option(min=1, help="Images of an epoch")],
    detections: Annotated[
        int | None, typer.Option(min=0, help="Detections of an epoch, if it does not see all sources")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Helping processes, or workers of Dask; 0: none")] = None,
    repeat: Annotated[
        int, typer.Option(min=1, help="Measure so often and take the least, on a machine that others use too")
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="All numbers as one JSON object, with all digits")] = False,
) -> None:
    """Say what a survey will cost. Example: contimg plan --sources 10000 --epochs 100 --images 12

    Time, memory, disk, and how many workers are of use. Measures four small simulated surveys first, each in a folder
    that is removed afterwards: about a minute.
    """
    from contimg_assets.cli.trial import SHAPES, run_trials
    from contimg_assets.planning import SurveySize, fit_costs

    size = SurveySize(sources, epochs, images, detections)
    measured = []
    for one in run_trials(n_times=repeat):
        measured.append(one)
        error_console.print(f"[dim]measured {len(measured)} of {len(SHAPES)} small surveys[/]", highlight=False)
    model = fit_costs(measured)
    chosen = model.plan(size, model.plan(size).useful_workers if workers is None else workers)
    if json:
        print(json_.dumps(_as_json(chosen, measured), indent=1))
        return
    console.print(_table_of_measured(measured))
    console.print(_table_of_plans(model, size, chosen.n_workers))
    for sentence in _sentences(chosen):
        console.print(sentence, highlight=False, soft_wrap=True)


def _as_json(plan: Plan, measured: Sequence[Measured]) -> dict[str, Any]:
    from contimg_assets.planning import VALIDATED_WITHIN

    return {
        "survey": {**asdict(plan.size), "n_detections": plan.size.n_detections},
        "n_workers": plan.n_workers,
        "time_s": plan.time_s,
        "memory_bytes": plan.memory_bytes,
        "worker_memory_bytes": plan.worker_memory_bytes,
        "disk_bytes": plan.disk_bytes,
        "useful_workers": plan.useful_workers,
        "parts": {name: value for name, value in plan.costs.items() if name != "memory_bytes"},
        "times_measured": plan.times_measured,
        "is_extrapolated": plan.times_measured > 1.0,
        "error_fraction": VALIDATED_WITHIN if plan.times_measured <= _COMPARED_UP_TO else None,
        "measured": [{**asdict(one.size), **one.costs} for one in measured],
    }


def _table_of_measured(measured: Sequence[Measured]) -> Table:
    table = Table(title="Measured here: simulated surveys, from files to products, in one process")
    for name in (
        "sources",
        "epochs",
        "images",
        "detections",
        "processor",
        "for helpers",
        "memory",
        "store",
        "database",
    ):
        table.add_column(name, justify="right")
    for one in measured:
        costs = one.costs
        table.add_row(
            f"{one.size.n_sources:,}",
            f"{one.size.n_epochs:,}",
            f"{one.size.n_images:,}",
            f"{one.size.n_detections:,.0f}",
            *(_duration(costs[name]) for name in ("processor_s", "shared_s")),
            *(_size(costs[name]) for name in ("memory_bytes", "store_bytes", "database_bytes")),
        )
    return table


def _table_of_plans(model: CostModel, size: SurveySize, n_workers: int) -> Table:
    """Time and memory alone, with the chosen number of workers, and with fewer and more."""
    table = Table(title=f"Foretold: {size.n_detections:,.0f} detections of {size.n_sources:,} sources")
    for name in ("workers", "time", "memory in all", "of each worker"):
        table.add_column(name, justify="right")
    for number in sorted({0, 1, 2, 4, 8, 2 * n_workers, n_workers}):
        plan = model.plan(size, number)
        mark = " ←" if number == n_workers else ""
        of_each = _size(plan.worker_memory_bytes) if number else ""
        table.add_row(f"{number}{mark}", _duration(plan.time_s), _size(plan.memory_bytes), of_each)
    return table


def _sentences(plan: Plan) -> list[str]:
    from contimg_assets.planning import VALIDATED_WITHIN

    costs = plan.costs
    useful = plan.useful_workers
    advice = f"More than {useful} workers" if useful else "Workers"
    lines = [
        f"Disk: {_size(plan.disk_bytes)}: store {_size(costs['store_bytes'])}, database "
        f"{_size(costs['database_bytes'])} and as much for its journal, .dagster {_size(costs['dagster_bytes'])}; "
        "delivered files are not counted.",
        f"{advice} save less than a fifth of the time: {_duration(costs['processor_s'] - costs['shared_s'])} of "
        f"{_duration(costs['processor_s'])} are one process's own.",
    ]
    if plan.times_measured <= 1.0:
        return [*lines, "The survey is no larger than those that were measured."]
    lines.append(
        f"All of this is extrapolated to {plan.times_measured:,.1f} times the detections of the largest measured "
        "survey; processors are taken as quiet, one a process."
    )
    if plan.times_measured <= _COMPARED_UP_TO:
        lines.append(f"So far plans were within {VALIDATED_WITHIN:.0%} of real runs (docs/scale.md).")
    else:
        lines.append(
            f"Plans were compared with real runs up to {_COMPARED_UP_TO:g} times (within {VALIDATED_WITHIN:.0%}); "
            "beyond that nothing was compared."
        )
    return lines


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def _size(n_bytes: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e6:.3g} MB"
