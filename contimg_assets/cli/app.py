"""`contimg`: run, status, rejected, init, simulate, demo; the other groups of commands are added from their modules."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from contimg_assets.cli.console import command, console, open_project, require_project, show_tracebacks
from contimg_assets.cli.formats import CsvOption, JsonOption
from contimg_assets.cli.listings import Listing, listing
from contimg_assets.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from contimg_assets.config import Config
    from contimg_assets.orchestration.runs.in_process import Report
    from contimg_assets.pipeline.project import Project

app = typer.Typer(
    # With an option alone too, such as --version.
    invoke_without_command=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_MAX_NAMED = 5
_MAX_FINDINGS = 12
# A table with more epochs is for no eye: those that are not fresh, and of the others the newest.
_MANY_EPOCHS, _NEWEST_SHOWN = 200, 20
_SIGNS = {
    "fresh": "[green]fresh[/]",
    "stale": "[yellow]stale[/]",
    "missing": "[blue]missing[/]",
    "failed": "[bold red]failed[/]",
    "waiting": "[dim]waiting[/]",
}


_COLLECT_SELDOM = (50_000, 20, 50)

INTERNAL_ERROR = 70
"""Exit status of a fault of this program: EX_SOFTWARE of sysexits.h."""
INTERRUPTED = 130
"""Exit status where somebody pressed Ctrl-C: 128 and the number of the signal, as of shells."""


def main() -> None:
    """Entry point of the console script."""
    # Nothing of what a command loads is garbage: to look for some takes a tenth of the time.
    gc.set_threshold(*_COLLECT_SELDOM)
    try:
        app()
    except Exception:  # noqa: BLE001 (shown whole; the status tells it from what people can cure)
        traceback.print_exc()
        sys.exit(INTERNAL_ERROR)


@app.callback()
def common(
    folder: Annotated[
        Path | None, typer.Option("-C", "--project", help="Folder of the project, if not the current one")
    ] = None,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Of an error, show also where in the program it arose")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end", is_eager=True)] = False,
) -> None:
    """Catalogs of detections to a database of radio sources with light curves.

    Exit status: 0 done; 1 done, but something failed or differs, as was said; 2 not done: the sentence says why and the
    cure; 70 a fault of this program; 130 interrupted.
    """
    if version:
        import contimg_assets

        print(contimg_assets.__version__)
        raise typer.Exit
    show_tracebacks(show_traceback)
    if folder is not None:
        if not folder.is_dir():
            raise typer.BadParameter(f"{folder} is no folder")
        os.chdir(folder)


@command(app)
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make a project of")] = Path(),
) -> None:
    """Make a folder a project: contimg.yaml with every parameter, dagster.yaml, workspace.yaml, incoming/.

    Example: contimg init mysurvey
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in make_project(folder):
        console.print(f"wrote {path}")
    console.print("Put epochs into incoming/, name your catalogs in contimg.yaml, then call `contimg run`.")


def make_project(folder: Path) -> list[Path]:
    """Write what a project's folder needs and does not have yet; return what was written."""
    from contimg_assets.cli.templates import write_templates
    from contimg_assets.config import FILE_NAME
    from contimg_assets.config.reference_docs import render_example

    written = write_templates(folder)
    configuration = folder / FILE_NAME
    if not configuration.exists():
        configuration.write_text(render_example(), encoding="utf-8")
        written.append(configuration)
    (folder / "incoming").mkdir(exist_ok=True)
    return written


@command(app)
def run(
    epochs: Annotated[
        list[str] | None, typer.Option(help="Only these epochs (repeat the option, or separate with commas)")
    ] = None,
    force: Annotated[bool, typer.Option(help="Make them again even if nothing changed")] = False,
) -> None:
    """Find epochs and make whatever is missing or stale, through Dagster, in this process.

    Example: contimg run --epochs 2026-01-25T2200
    """
    from contimg_assets.config import load_config

    run_and_report(load_config(), epochs, force=force)


def run_and_report(config: Config, epochs: Sequence[str] | None = None, *, force: bool = False) -> Project:
    """Bring a project up to date with a progress bar, and say what failed; exit status 1 if anything did."""
    from contimg_assets.config.secrets import without_passwords
    from contimg_assets.orchestration.runs.dead_runs import told_of_waiting
    from contimg_assets.orchestration.runs.in_process import bring_up_to_date
    from contimg_assets.orchestration.runs.instance import open_instance
    from contimg_assets.pipeline.project import Project
    from contimg_assets.pipeline.staleness import of_epochs

    collect_less_often()
    project = Project(config)
    chosen = _chosen_epochs(epochs, project.epochs())
    try:
        with open_instance(config.root) as instance, _progress() as progress:
            bars = _Bars(progress)
            report = bring_up_to_date(
                project, instance, chosen, force=force, on_work=bars.begin, on_done=bars.advance, on_wait=_tell_waiting
            )
            waiting = told_of_waiting(instance)
    except KeyboardInterrupt:
        console.print("Interrupted: what was finished stays, and `contimg run` makes the rest.")
        raise typer.Exit(INTERRUPTED) from None
    if of_epochs(report.assessment).empty:
        console.print(f"No epoch found in {escape(config.incoming_shown)}.")
    elif not report.run_ids:
        console.print(
            "Everything is up to date."
            if report.complete
            else "Nothing can be made until the problems below are solved."
        )
    _print_unusable(project)
    if waiting is not None:
        console.print(f"[yellow]waiting:[/] {escape(waiting)}", highlight=False, soft_wrap=True)
    sound = tell_troubles(report)
    console.print(f"Products: {without_passwords(config.products_url)}")
    if config.hats_folder is not None and config.hats_folder.exists():
        console.print(f"As HATS: {escape(str(config.hats_folder))}", highlight=False, soft_wrap=True)
    tell_findings(project)
    if not sound:
        raise typer.Exit(1)
    return project


def collect_less_often() -> None:
    """Let the garbage collector pass over what was imported, which stays, and look less often: a tenth of a run."""
    gc.freeze()
    gc.set_threshold(*_COLLECT_SELDOM)


class _Bars:
    """A progress bar for each stage that a run works on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def begin(self, stages: Sequence[str], epochs: Sequence[str]) -> None:
        """Stages begin with epochs; what they have not done of those before, for a stage failed, they will not do."""
        for stage in stages:
            if stage not in self._tasks:
                self._tasks[stage] = self._progress.add_task(stage)
            task = self._tasks[stage]
            self._progress.update(task, total=self._progress.tasks[task].completed + len(epochs))

    def advance(self, stage: str, epoch: str) -> None:
        """A stage is done with an epoch."""
        if stage in self._tasks:
            self._progress.update(self._tasks[stage], advance=1)


def _tell_waiting(runs: set[str]) -> None:
    names = ", ".join(sorted(runs))
    console.print(f"Waiting for what another process has begun: run {names}", soft_wrap=True)


def tell_troubles(report: Report) -> bool:
    """Say what went wrong in bringing a project up to date; true if nothing did."""
    for error in report.errors:
        console.print(f"[bold red]internal error:[/] {escape(error)}", soft_wrap=True)
    _print_missing(report.problems)
    for sentence in report.troubles:
        console.print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)
    # What a full disk does to all epochs is said once.
    for (stage, reason), rows in report.failed.groupby(["stage", "reason"], sort=False):
        epochs = [escape(str(epoch)) for epoch in rows["epoch"]]
        which = f"epoch {epochs[0]}" if len(epochs) == 1 else f"{len(epochs)} epochs ({_named(epochs)})"
        console.print(f"[bold red]failed:[/] {stage} of {which}: {escape(str(reason))}", soft_wrap=True)
    return not (report.errors or report.problems or report.troubles or len(report.failed))


def _named(epochs: Sequence[str]) -> str:
    return ", ".join(epochs[:_MAX_NAMED]) + (" ..." if len(epochs) > _MAX_NAMED else "")


def tell_findings(project: Project) -> None:
    """Say in a line how the products stand, and what of them needs eyes; nothing where there are none yet."""
    from contimg_assets.pipeline.findings import look

    found = look(project.config, project.products)
    if found is None:
        return
    console.print(found.headline, soft_wrap=True)
    for row in found.findings[:_MAX_FINDINGS].itertuples(index=False):
        sentence = f"{row.subject}: {row.what} ({row.why}). Cure: {row.cure}."
        console.print(f"[yellow]look:[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    if len(found.findings) > _MAX_FINDINGS:
        console.print(
            f"[yellow]look:[/] {len(found.findings) - _MAX_FINDINGS} more; `contimg images` lists all images."
        )


@command(app)
def status(
    epoch: Annotated[str | None, typer.Argument(help="Only this epoch; all if not given")] = None,
    stale_only: Annotated[bool, typer.Option("--stale", help="Only epochs with something that is not fresh")] = False,
    csv: CsvOption = False,
    json: JsonOption = False,
) -> None:
    """Show what needs eyes, then every stage of every epoch: fresh, stale, missing, failed or waiting, and why.

    Example: contimg status --json
    """
    from contimg_assets.pipeline.staleness import NEVER_MADE, of_epochs, of_survey, work_to_do

    project = open_project()
    require_project(project.config)
    whole = project.assess()
    assessment = of_epochs(whole)
    if epoch is not None:
        _chosen_epochs([epoch], assessment["epoch"].unique().tolist())
        assessment = assessment[assessment["epoch"] == epoch]
    if csv or json:
        rows = assessment if epoch is not None else whole
        rows = rows.loc[(rows["state"] != "fresh") | (not stale_only), ["epoch", "stage", "state", "reason"]]
        print(rows.to_json(orient="records", indent=1) if json else rows.to_csv(index=False).rstrip("\n"))
        return
    if assessment.empty:
        console.print(f"No epoch in {escape(project.config.incoming_shown)} yet.")
        _print_unusable(project)
        return
    if epoch is None:
        tell_findings(project)
    console.print(_table_of_states(assessment, stale_only))
    _print_missing(project.missing_catalogs())
    for row in work_to_do(of_survey(whole)).itertuples(index=False):
        console.print(f"{row.stage}: {_SIGNS[str(row.state)]}: {row.reason}")
    _print_unusable(project)
    # What was never made, or waits for a stage before it, says so by its sign.
    waits = (assessment["state"] == "waiting") & (assessment["stage"] != "raw_detections")
    notable = assessment[~assessment["reason"].isin(["", NEVER_MADE]) & ~waits]
    for row in notable.itertuples(index=False):
        console.print(f"{row.epoch} {row.stage} {_SIGNS[str(row.state)]}: {escape(str(row.reason))}", soft_wrap=True)


def _table_of_states(assessment: pd.DataFrame, stale_only: bool) -> Table:
    """A row an epoch, a column a stage."""
    wide = assessment.pivot(index="epoch", columns="stage", values="state").reindex(  # noqa: PD010 (one value each)
        index=assessment["epoch"].unique(), columns=assessment["stage"].unique()
    )
    done = (wide.isna() | (wide == "fresh")).all(axis=1).to_numpy(copy=True)
    title = "Epochs in the order of their observation"
    if stale_only:
        wide = wide[~done]
    elif len(wide) > _MANY_EPOCHS:
        done[-_NEWEST_SHOWN:] = False
        title += f", without {done.sum()} that are fresh; --csv has all"
        wide = wide[~done]
    # Without lines between columns, and long words folded, all stages of a survey stand in 80 columns.
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("epoch", no_wrap=True)
    for stage in wide.columns:
        table.add_column(str(stage).replace("_", "\n"), overflow="fold")
    for epoch, states in zip(wide.index, wide.to_numpy(), strict=True):
        table.add_row(str(epoch), *(_SIGNS[str(state)] for state in states))
    return table


@listing(app)
def rejected(
    epoch: Annotated[str, typer.Argument(help="Epoch")],
) -> Listing:
    """Show the rows of an epoch's catalogs that were set aside: file, line, reason.

    Example: contimg rejected 2026-01-25T2200
    """
    project = open_project()
    failure = project.store.failure("raw_detections", epoch)
    # Where too many rows are bad, they are kept with the failure: what people want to see.
    rows = project.store.read_failed("raw_detections", epoch, "rejected")
    if rows is None and failure is not None:
        raise InputError(f"epoch {epoch!r} could not be read, so no row was set aside: {failure.message}")
    if rows is None:
        _chosen_epochs([epoch], project.epochs())
        rows = project.store.read("raw_detections", epoch, "rejected")
    notes = [f"No row of epoch {epoch} was set aside."] if rows.empty else []
    return Listing(rows, f"{len(rows)} row(s) of epoch {epoch} set aside", [str(name) for name in rows], notes)


def _print_missing(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print(f"[bold red]missing:[/] {escape(sentence)}", soft_wrap=True)


def _print_unusable(project: Project) -> None:
    """What lies in the incoming folder and cannot be taken as an epoch."""
    for name, reason in project.unusable_folders().items():
        console.print(f"[yellow]not taken:[/] {escape(name)}: {escape(reason)}", soft_wrap=True)


def _chosen_epochs(given: Sequence[str] | None, known: Sequence[str]) -> list[str] | None:
    """The epochs that an option names, checked against what there is."""
    if not given:
        return None
    chosen = [name.strip() for text in given for name in text.split(",") if name.strip()]
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise typer.BadParameter(f"no epoch {', '.join(unknown)}; there are: {', '.join(known) or 'none'}")
    return chosen


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        console=console,
    )
